"""Rules about values that only the graph knows, checked where they are known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_mlm.errors import InvalidInputError, plain_words

Rule = tuple[tf.Tensor, str | tf.Tensor, tf.Tensor | None]
"""A condition that must hold, the rule in words, and what was received (unless the words say it)."""


def checked(tensors: Sequence[tf.Tensor], *rules: Rule) -> list[tf.Tensor]:
    """`tensors`, available only once every rule has been found to hold.

    XLA compiles such checks away, so they belong in front of a compiled program.

    Raises:
        tf.errors.InvalidArgumentError: when the graph runs (or at once, eagerly) and a rule is broken.

    Example:
        >>> [rate] = checked([tf.constant(2.0)], (tf.constant(True), "Anything goes.", tf.constant(2.0)))
        >>> float(rate)
        2.0
    """
    assertions: list[Any] = []
    for condition, rule, received in rules:
        if tf.executing_eagerly():
            if not condition:
                words = rule if isinstance(rule, str) else rule.numpy().decode("utf-8", "replace")
                if received is not None:
                    words = f"{words} Received: {received.numpy().tolist()}."
                raise tf.errors.InvalidArgumentError(None, None, words)
        else:
            words = rule if received is None else f"{rule} Received:"
            data = [words] if received is None else [words, received]
            assertions.append(tf.raw_ops.Assert(condition=condition, data=data, summarize=8))
    with tf.control_dependencies(assertions):
        return [tf.identity(tensor) for tensor in tensors]


def with_axes(inputs: Mapping[str, tf.Tensor], axes: Mapping[str, Sequence[str]]) -> dict[str, tf.Tensor]:
    """`inputs`, of the ranks that their axes say, available only once all of them have been found to be.

    A session does not compare what it is fed with the shape of the placeholder, and operations that were
    traced for one rank may answer wrongly, or end the process, when they get another one. So a graph that is
    to be served is traced with inputs of unknown rank: then nothing in it, and no optimiser of graphs, can
    take a shape for granted before it has been looked at here.

    Args:
        inputs: name to tensor.
        axes: name to the names of the tensor's axes.

    Raises:
        tf.errors.InvalidArgumentError: at once for a wrong rank that is known, else when the graph runs.

    Example:
        >>> with_axes({"text": tf.constant(["a", "b"])}, {"text": ["batch"]})["text"].shape
        TensorShape([2])
    """
    assertions = []
    for name, tensor in inputs.items():
        rank = len(axes[name])
        rule = f"`{name}` must have shape [{', '.join(axes[name])}]."
        if tensor.shape.rank is None:
            sizes = tf.shape(tensor, tf.int64)
            countable = tf.reduce_all(sizes < 2**31)
            holds = tf.logical_and(tf.equal(tf.rank(tensor), rank), countable)
            data = [f"{rule} Received shape:", sizes]
            assertions.append(tf.raw_ops.Assert(condition=holds, data=data, summarize=8))
        elif tensor.shape.rank != rank:
            raise tf.errors.InvalidArgumentError(None, None, f"{rule} Received shape: {tensor.shape}.")
    if not assertions:
        return dict(inputs)
    with tf.control_dependencies(assertions):
        return {
            # Not behind an identity: optimisers take those away, and the order with them.
            name: tf.ensure_shape(tensor, [None] * len(axes[name]))
            for name, tensor in inputs.items()
        }


def within(values: tf.Tensor, size: Any) -> tf.Tensor:
    """Whether all of `values` lie in [0, size)."""
    return tf.reduce_all((values >= 0) & (values < size))


def in_range(values: tf.Tensor, size: Any, rule: str) -> Rule:
    """The rule that all of `values` lie in [0, size); its message shows the first that does not.

    Example:
        >>> condition, rule, received = in_range(tf.constant([1, 9]), 5, "Ids must lie in [0, 5).")
        >>> bool(condition), received.numpy().tolist()
        (False, 9)
    """
    size = tf.cast(size, values.dtype)
    # One value more, of none, so that there is always one to show. The shapes stay known, as XLA wants them.
    flat = tf.concat([tf.reshape(values, [-1]), [tf.zeros([], values.dtype)]], 0)
    outside = tf.concat([tf.reshape((values < 0) | (values >= size), [-1]), [False]], 0)
    first = tf.gather(flat, tf.argmax(tf.cast(outside, tf.int32)))
    return ~tf.reduce_any(outside), rule, first


class BrokenRuleError(tf.errors.InvalidArgumentError, InvalidInputError):
    """A rule that the graph found broken, in plain words."""

    def __init__(self, message: str) -> None:
        super().__init__(None, None, message)

    def __str__(self) -> str:
        return str(self.message)


@contextlib.contextmanager
def in_plain_words() -> Iterator[None]:
    """Raises `BrokenRuleError` where TensorFlow says that an argument is invalid.

    Example:
        >>> with in_plain_words():
        ...     _ = checked([tf.constant(3)], (tf.constant(False), "Sizes must be even.", tf.constant(3)))
        Traceback (most recent call last):
            ...
        tf_mlm.model.rules.BrokenRuleError: Sizes must be even. Received: 3.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        raise BrokenRuleError(plain_words(error.message)) from error
