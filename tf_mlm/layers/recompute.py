"""Results that the backward pass computes once more, in place of the memory that keeping them takes.

`tf.recompute_grad` orders the second computation behind the gradient by a comparison that XLA's simplifier
sees through; the two computations then become one again, and nothing is saved. Here the inputs of the second
one hang on the gradient by a value that is zero and that no simplifier knows to be so.

References:
    Chen et al., https://arxiv.org/abs/1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def recomputed(function: Callable[..., tf.Tensor], *inputs: tf.Tensor) -> tf.Tensor:
    """`function(*inputs)`, of which the backward pass keeps the inputs alone.

    The numbers, and those of the gradients, are the same bit for bit, as the same arithmetic runs twice; XLA
    may fuse its parts in other ways, and then add up a sum in another order.

    Args:
        function: floating-point tensors to one. It may read variables, which get their gradients too; what
            else it reads (masks, seeds) must be the same when it is called again.
        inputs: the tensors that have gradients.

    Example:
        >>> x = tf.constant(3.0)
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(x)
        ...     y = recomputed(tf.square, x)
        >>> float(y), float(tape.gradient(y, x))
        (9.0, 6.0)
    """

    @tf.custom_gradient
    def once(*inputs: tf.Tensor) -> Any:
        def gradient(*upstream: tf.Tensor, variables: Sequence[tf.Variable] | None = None) -> Any:
            behind = after(upstream[0], inputs)
            variables = list(variables or ())
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([*behind, *variables])
                outputs = function(*behind)
            found = tape.gradient(outputs, [*behind, *variables], upstream[0])
            return (found[: len(inputs)], found[len(inputs) :]) if variables else found

        return function(*inputs), gradient

    return once(*inputs)


def after(first: tf.Tensor, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The tensors, which cannot be had before `first` is known."""
    if tf.executing_eagerly():
        return list(tensors)
    # The lesser of 0 and a magnitude is 0 also for infinities; where it is no number nothing is right anyway.
    zero = tf.minimum(tf.abs(tf.reshape(first, [-1])[0]), tf.zeros([], first.dtype))
    return [tensor + tf.cast(zero, tensor.dtype) for tensor in tensors]


def either(
    condition: tf.Tensor, then: Callable[..., tf.Tensor], other: Callable[..., tf.Tensor], *inputs: tf.Tensor
) -> tf.Tensor:
    """`then(*inputs)` or `other(*inputs)`, as a condition says that is not known when traced.

    Only the inputs live on to the backward pass: what the branches of a `tf.cond` leave for it has other
    shapes in each, which XLA refuses where they are not known.

    Example:
        >>> x = tf.constant(3.0)
        >>> float(either(tf.constant(True), tf.square, tf.identity, x))
        9.0
    """

    @tf.custom_gradient
    def chosen(*inputs: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> Any:
            def of(form: Callable[..., tf.Tensor]) -> list[tf.Tensor]:
                with tf.GradientTape() as tape:
                    tape.watch(inputs)
                    outputs = form(*inputs)
                return tape.gradient(outputs, inputs, upstream)

            return tf.cond(condition, lambda: of(then), lambda: of(other))

        return tf.cond(condition, lambda: then(*inputs), lambda: other(*inputs)), gradient

    return chosen(*inputs)
