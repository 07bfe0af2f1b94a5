"""Attention cut into blocks: its sizes, and the weights that are dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tf_mlm.layers.attention_mask import AttentionMask
from tf_mlm.layers.dropout import kept

HIDDEN = -2e9
"""The score of what is not attended to; far below `paired_blocks.LEAST_PEAK`."""


class Dropout(NamedTuple):
    """The rate at which weights are dropped, and the seed, int32 [2] or None, that says which."""

    rate: float = 0.0
    seed: tf.Tensor | None = None


NO_DROPOUT = Dropout()


class Blocks(NamedTuple):
    """Rows, heads, tokens and blocks, how many there are of each, and what all blocks have in common.

    Attributes:
        batch, heads, length, number: of rows, heads, tokens and blocks.
        block: tokens of a block.
        mask: who attends to whom, its tensors as int32 [batch, number, block].
        dropout: of the weights.
        statistics: the dtype of maxima and sums.
    """

    batch: int | tf.Tensor
    heads: int
    length: int | tf.Tensor
    number: int | tf.Tensor
    block: int
    mask: AttentionMask
    dropout: Dropout
    statistics: tf.DType

    def drop(self, weights: tf.Tensor, places: Callable[[], tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        """The weights that stay, scaled: the same ones as of all positions at once.

        `places` gives the positions of queries and of keys, shaped to be broadcast against the weights, of
        which the first two axes are batch and heads.
        """
        rate, seed = self.dropout
        if seed is None or not rate:
            return weights
        texts = tf.range(self.batch * self.heads)
        texts = tf.reshape(texts, [self.batch, self.heads, *[1] * (weights.shape.rank - 2)])
        unsigned = [tf.bitcast(x, tf.uint32) for x in (texts, *places(), tf.convert_to_tensor(self.length))]
        texts, rows, columns, length = unsigned
        keeps = kept((texts * length + rows) * length + columns, rate, seed)
        return tf.where(keeps, weights * tf.cast(1 / (1 - rate), weights.dtype), tf.zeros([], weights.dtype))


def size_of(x: tf.Tensor, axis: int) -> int | tf.Tensor:
    """The size of an axis as a number if it is known, else as a tensor."""
    return tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
