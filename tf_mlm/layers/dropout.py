"""Dropout whose mask is a pure function of a seed (Srivastava et al., JMLR 15, 2014)."""

from __future__ import annotations

import tensorflow as tf


def fold_in(seed: tf.Tensor | None, index: int) -> tf.Tensor | None:
    """A seed of its own for the `index`-th user of `seed`; None (no dropout) stays None."""
    return None if seed is None else tf.random.experimental.stateless_fold_in(seed, index)


def dropout(inputs: tf.Tensor, rate: float, seed: tf.Tensor | None) -> tf.Tensor:
    """Zeroes a share `rate` of the elements and scales the rest by `1 / (1 - rate)`.

    Args:
        inputs: float, any shape.
        rate: share of elements in [0, 1).
        seed: int32 [2]; None means inference, where nothing is dropped.

    Example:
        >>> dropout(tf.ones([2]), 0.5, seed=None).numpy().tolist()
        [1.0, 1.0]
    """
    if seed is None or rate == 0:
        return inputs
    shape = tf.shape(inputs)
    index = tf.bitcast(tf.reshape(tf.range(tf.reduce_prod(shape)), shape), tf.uint32)
    scale = tf.cast(1 / (1 - rate), inputs.dtype)
    return tf.where(kept(index, rate, seed), inputs * scale, tf.zeros([], inputs.dtype))


def kept(index: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Bool: which elements stay, of those with these places (uint32, any shape) in the whole tensor."""
    return _bits(index, seed) >= tf.constant(round(rate * 2**32), tf.uint32)


def _bits(index: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Random uint32 for each element: a hash of its index, uint32, and the seed.

    A dozen integer operations per element, which XLA fuses into the product with the input and
    repeats in the backward pass for less than storing them costs. The generators behind
    `tf.random.stateless_*` are up to six times the rest of a training step on CPU.
    """
    key = tf.bitcast(seed, tf.uint32)
    bits = _mix(index * tf.constant(0x9E3779B9, tf.uint32) + key[0])
    return _mix(tf.bitwise.bitwise_xor(bits, key[1]))


def _mix(bits: tf.Tensor) -> tf.Tensor:
    """A 32-bit mixer of low bias, https://github.com/skeeto/hash-prospector."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32)))
        bits *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32)))
