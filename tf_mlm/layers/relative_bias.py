"""What attention adds to its scores for the distance of two positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.layers import initializer as initializers
from tf_mlm.layers.precision import Precision

BUCKETS, FARTHEST = 32, 128


def distance_buckets(length: tf.Tensor | int) -> tf.Tensor:
    """The bucket of each distance between two of `length` positions, int32 [length, length].

    Half of the 32 buckets are for what stands before a position, half for what stands behind it. Distances
    below eight have one each, longer ones share them by their logarithm, up to 128 and beyond.

    Example:
        >>> distance_buckets(3).numpy().tolist()
        [[0, 17, 18], [1, 0, 17], [2, 1, 0]]
    """
    place = tf.range(length)
    ahead = place - place[:, tf.newaxis]
    # From a table: what a device makes of a logarithm decides on which side of a bound a distance falls.
    bucket = tf.gather(tf.constant(_by_distance()), tf.minimum(tf.abs(ahead), FARTHEST))
    return bucket + tf.where(ahead > 0, BUCKETS // 2, 0)


def _by_distance() -> np.ndarray:
    """The bucket of each distance from 0 to 128, in the float32 that models are trained with."""
    half = BUCKETS // 2
    exact = half // 2
    distance = np.arange(FARTHEST + 1)
    logarithm = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    shared = exact + (logarithm / np.float32(np.log(FARTHEST / exact)) * (half - exact)).astype(np.int32)
    return np.where(distance < exact, distance, np.minimum(shared, half - 1)).astype(np.int32)


class RelativeBias(tf.Module):
    """A number for each bucket of distances and each head, the same in every layer (MPNet's).

    Shapes:
        query, key: [batch, heads, length, size] → [1, heads, length, length], to be added to the scores.

    Args:
        heads: number of heads.
        rows: of the table; more than 32 are kept and not used, as in transformers.
        initializer: for the table.
        dtype: policy of the table.

    References:
        Raffel et al., https://arxiv.org/abs/1910.10683, section 2.1; Song et al.,
        https://arxiv.org/abs/2004.09297 (MPNet).
    """

    parts = 1

    def __init__(
        self,
        heads: int,
        rows: int = BUCKETS,
        initializer: Any = "truncated_normal",
        *,
        name: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        variable = Precision.of(dtype).variable
        self.table = tf.Variable(initializers.get(initializer)([rows, heads], variable), name="table")

    def __call__(self, query: tf.Tensor, key: tf.Tensor, query_key_value: Any = None) -> tf.Tensor:
        values = tf.gather(self.table, distance_buckets(tf.shape(query)[2]))  # [length, length, heads]
        return tf.transpose(values, [2, 0, 1])[tf.newaxis]
