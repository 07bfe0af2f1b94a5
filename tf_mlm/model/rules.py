"""Rules about values that only the graph knows, checked where they are known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tf_mlm.errors import InvalidInputError, plain_words

Rule = tuple[tf.Tensor, str, tf.Tensor]
"""A condition that must hold, the rule in words, and what was received."""


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
                message = f"{rule} Received: {received.numpy().tolist()}."
                raise tf.errors.InvalidArgumentError(None, None, message)
        else:
            assertions.append(tf.debugging.Assert(condition, [f"{rule} Received:", received], summarize=8))
    with tf.control_dependencies(assertions):
        return [tf.identity(tensor) for tensor in tensors]


def within(values: tf.Tensor, size: Any) -> tf.Tensor:
    """Whether all of `values` lie in [0, size)."""
    return tf.reduce_all((values >= 0) & (values < size))


def in_range(values: tf.Tensor, size: Any, rule: str) -> Rule:
    """The rule that all of `values` lie in [0, size); eagerly its message shows only some that do not.

    Example:
        >>> condition, rule, received = in_range(tf.constant([1, 9]), 5, "Ids must lie in [0, 5).")
        >>> bool(condition), received.numpy().tolist()
        (False, [9])
    """
    size = tf.cast(size, values.dtype)
    if tf.executing_eagerly():
        outside = tf.boolean_mask(values, (values < 0) | (values >= size))
        return tf.equal(tf.size(outside), 0), rule, outside[:8]
    return within(values, size), rule, values


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
