"""Rotary position embedding: positions as rotations of queries and keys."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def rotary(x: tf.Tensor, theta: float, position_ids: tf.Tensor | None = None) -> tf.Tensor:
    """Each vector turned by its position, first half of it against the second half.

    Args:
        x: float [batch, heads, length, size], of an even size; turned in float32 or better.
        theta: the base of the frequencies.
        position_ids: int32 [batch or 1, length], where they do not count from 0 to the end of each row.

    Example:
        >>> rotary(tf.constant([[[[1.0, 0.0], [1.0, 0.0]]]], tf.float64), 10000.0).numpy().round(2).tolist()
        [[[[1.0, 0.0], [0.54, 0.84]]]]

    References:
        Su et al., https://arxiv.org/abs/2104.09864.
    """
    size = x.shape[-1]
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    frequencies = tf.constant(theta ** (-np.arange(0, size, 2) / size), dtype)
    places = tf.range(tf.shape(x)[2]) if position_ids is None else position_ids[:, tf.newaxis]
    angles = tf.cast(places, dtype)[..., tf.newaxis] * frequencies  # [(batch, 1,) length, size / 2]
    cosine, sine = tf.cos(angles), tf.sin(angles)
    first, second = tf.split(tf.cast(x, dtype), 2, axis=-1)
    turned = tf.concat([first * cosine - second * sine, second * cosine + first * sine], -1)
    return tf.cast(turned, x.dtype)
