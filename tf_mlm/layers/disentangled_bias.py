"""Attention to where tokens stand relative to each other, apart from what they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.precision import Precision


class RelativeVectors(tf.Module):
    """A vector for each distance of two positions, or for each bucket of distances; all layers share them.

    Half of the vectors are for what stands before a position. With `position_buckets` distances below half
    of those have a vector each, longer ones share theirs by their logarithm.

    Shapes:
        result: float [2 * span, hidden], the smallest distance first.
    """

    def __init__(
        self,
        config: ModelConfig,
        initializer: Any,
        *,
        name: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        self.precision = Precision.of(dtype)
        farthest = config.max_relative_positions or config.max_position_embeddings
        self.span = config.position_buckets or farthest
        shape = [2 * self.span, config.hidden_size]
        self.table = tf.Variable(initializer(shape, self.precision.variable), name="table")
        self.norm = (
            LayerNorm(config.hidden_size, config.layer_norm_eps, name="norm", dtype=self.precision)
            if config.relative_norm
            else None
        )
        self._buckets = log_buckets(config.max_position_embeddings, config.position_buckets, farthest)

    def __call__(self) -> tf.Tensor:
        table = self.precision.cast(self.table)
        return table if self.norm is None else self.norm(table)

    def rows(self, length: tf.Tensor) -> tf.Tensor:
        """Which vector belongs to each query and key, int32 [length, length]."""
        place = tf.range(length)
        behind = place[:, tf.newaxis] - place
        bucket = tf.sign(behind) * tf.gather(tf.constant(self._buckets), tf.abs(behind))
        return tf.clip_by_value(bucket + self.span, 0, 2 * self.span - 1)


def log_buckets(length: int, buckets: int | None, farthest: int) -> np.ndarray:
    """The bucket of each distance below `length`, in the float32 that models are trained with.

    Example:
        >>> log_buckets(10, 4, 8).tolist()
        [0, 1, 2, 3, 3, 3, 3, 3, 4, 4]
    """
    distance = np.arange(length)
    if buckets is None:
        return distance.astype(np.int32)
    near = buckets // 2
    share = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(near))
    steps = np.ceil(share / np.log(np.float32((farthest - 1) / near)) * (near - 1)) + near
    return np.where(distance <= near, distance, steps).astype(np.int32)


class DisentangledBias(tf.Module):
    """What one layer adds to its scores: content to position, position to content, or both.

    The vectors of distances are projected as queries and keys are where a model shares those weights, else
    by weights of their own. Training drops none of them, where transformers drops a share.

    Shapes:
        query, key: [batch, heads, length, size] → [batch, heads, length, length].

    References:
        He et al., https://arxiv.org/abs/2006.03654 (DeBERTa), section 3.1.
    """

    def __init__(
        self,
        config: ModelConfig,
        vectors: RelativeVectors,
        initializer: Callable[[], Any],
        *,
        name: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        self.precision = Precision.of(dtype)
        self.vectors = vectors
        self.heads, self.hidden = config.num_attention_heads, config.hidden_size
        kinds = config.relative_parts or ()
        self.parts = 1 + len(kinds)
        self._to_position, self._to_content = "c2p" in kinds, "p2c" in kinds

        def projection(name: str, wanted: bool) -> Dense | None:
            if config.relative_shared or not wanted:
                return None
            return Dense(
                self.hidden,
                self.hidden,
                kernel_initializer=initializer(),
                name=name,
                dtype=self.precision,
            )

        self.key = projection("key", self._to_position)
        self.query = projection("query", self._to_content)

    def __call__(self, query: tf.Tensor, key: tf.Tensor, query_key_value: Dense) -> tf.Tensor:
        vectors = self.vectors()
        shared = [] if self.key or self.query else tf.split(query_key_value(vectors), 3, axis=-1)
        rows = self.vectors.rows(tf.shape(query)[2])
        scale = 1 / math.sqrt(self.hidden // self.heads * self.parts)
        bias = tf.zeros([], query.dtype)
        if self._to_position:
            keys = self._by_head(self.key(vectors) if self.key else shared[1])
            bias += _chosen(tf.matmul(query * scale, keys, transpose_b=True), rows)
        if self._to_content:
            queries = self._by_head(self.query(vectors) if self.query else shared[0])
            scores = _chosen(tf.matmul(key * scale, queries, transpose_b=True), tf.transpose(rows))
            bias += tf.transpose(scores, [0, 1, 3, 2])
        return bias

    def _by_head(self, vectors: tf.Tensor) -> tf.Tensor:
        """[2 * span, hidden] → [1, heads, 2 * span, size]."""
        split = tf.reshape(vectors, [-1, self.heads, self.hidden // self.heads])
        return tf.transpose(split, [1, 0, 2])[tf.newaxis]


def _chosen(scores: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """[batch, heads, length, 2 * span] and rows [length, length] → [batch, heads, length, length]."""
    by_place = tf.transpose(scores, [2, 3, 0, 1])  # [length, 2 * span, batch, heads]
    return tf.transpose(tf.gather(by_place, rows, batch_dims=1), [2, 3, 0, 1])
