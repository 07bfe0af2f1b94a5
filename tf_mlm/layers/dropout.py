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
    return tf.nn.experimental.stateless_dropout(inputs, rate, seed, rng_alg="auto_select")
