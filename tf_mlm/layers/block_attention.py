"""Softmax attention in blocks: exact, and with memory that grows as the length, not as its square.

Two forms, by what a layer reaches. Where every token may attend to every other one, blocks of queries meet
blocks of keys one after the other (`tf_mlm.layers.paired_blocks`). Where a token attends to its neighbours
only, each block of queries meets its own block of keys and the two beside it, all blocks at once (Beltagy et
al., https://arxiv.org/abs/2004.05150).

All shapes are static for XLA. Positions attend to each other where the two numbers of a document agree, so
one comparison keeps texts that share a row apart and leaves padding out.
"""

from __future__ import annotations

import tensorflow as tf

from tf_mlm.layers.attention_blocks import HIDDEN, NO_DROPOUT, Blocks, Dropout, size_of
from tf_mlm.layers.attention_mask import NOWHERE, AttentionMask, near
from tf_mlm.layers.paired_blocks import attend_in_pairs
from tf_mlm.layers.recompute import recomputed

FULL_LENGTH, BAND_LENGTH = 1024, 256
"""From so many tokens on the blocks are faster than one product of all with all, or save much memory."""
BLOCK = 512
"""Queries, and keys, of a block where every token attends to every other one."""
LEAST_BAND = 64
"""The smallest block of a band; below, products are too small to be fast."""
WIDEST_BAND = 512
"""With a wider window than this, blocks that stand beside each other hold much that is outside it."""


def takes_blocks(length: int | tf.Tensor, window: int | None) -> bool | tf.Tensor:
    """Whether texts of this length are worth it."""
    return length >= (FULL_LENGTH if window is None or window > WIDEST_BAND else BAND_LENGTH)


def block_attention(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    mask: AttentionMask,
    dropout: Dropout = NO_DROPOUT,
    *,
    statistics: tf.DType = tf.float32,
    block: int | None = None,
) -> tf.Tensor:
    """`softmax(query @ key.T) @ value` over what each position attends to.

    Equal to plain attention, gradients and dropped weights included. A position that attends to nothing
    gets something finite.

    Args:
        query, key, value: float [batch, heads, length, size], the queries scaled already.
        mask: who attends to whom.
        dropout: of the weights.
        statistics: the dtype of maxima, sums and the result of sums over blocks.
        block: tokens of a block, where it is not to be the measured one.

    Returns:
        float [batch, heads, length, size], in the dtype of `value`.

    Example:
        >>> x = tf.random.stateless_normal([1, 2, 6, 4], seed=[0, 1])
        >>> mask = AttentionMask.of(tf.ones([1, 6], tf.bool), None, window=None)
        >>> plain = tf.matmul(tf.nn.softmax(tf.matmul(x, x, transpose_b=True)), x)
        >>> bool(tf.reduce_max(tf.abs(block_attention(x, x, x, mask, block=4) - plain)) < 1e-6)
        True
    """
    window = mask.window
    is_band = window is not None and window <= WIDEST_BAND
    size = block or (max(window or 0, LEAST_BAND) if is_band else BLOCK)
    length, batch = size_of(query, 2), size_of(query, 0)
    count = -(-length // size)
    padding = [[0, 0], [0, count * size - length]]

    def cut(x: tf.Tensor) -> tf.Tensor:
        """[batch, heads, length, size] → [batch, heads, count, block, size]."""
        x = tf.pad(x, [[0, 0], *padding, [0, 0]])
        return tf.reshape(x, [batch, x.shape[1], count, size, x.shape[3]])

    cut_mask = mask._replace(
        queries=tf.reshape(tf.pad(mask.queries, padding), [batch, count, size]),
        keys=tf.reshape(tf.pad(mask.keys, padding, constant_values=NOWHERE), [batch, count, size]),
    )
    blocks = Blocks(batch, query.shape[1], length, count, size, cut_mask, dropout, statistics)
    form = _band if is_band else attend_in_pairs
    context = form(cut(query), cut(key), cut(value), blocks)
    context = tf.reshape(context, [batch, query.shape[1], count * size, value.shape[3]])
    return tf.ensure_shape(context[:, :, :length], value.shape)


def _band(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, blocks: Blocks) -> tf.Tensor:
    """All blocks at once, each with its own keys and those of the blocks beside it."""
    block, mask, statistics = blocks.block, blocks.mask, blocks.statistics
    assert mask.window is not None
    around = tf.range(3 * block) - block  # places of keys, from the first query of the block on
    distance = tf.range(block)[:, tf.newaxis] - around
    documents = _with_neighbours(mask.keys, 2, NOWHERE)[:, tf.newaxis, :, tf.newaxis]
    attends = near(mask.queries[:, tf.newaxis, :, :, tf.newaxis] == documents, distance, mask.window)

    def places() -> tuple[tf.Tensor, tf.Tensor]:
        start = tf.range(blocks.number)[:, tf.newaxis, tf.newaxis] * block
        return start + tf.range(block)[:, tf.newaxis], start + around

    def context(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        scores = tf.matmul(query, _with_neighbours(key, 3), transpose_b=True)
        scores = tf.where(attends, tf.cast(scores, statistics), tf.cast(HIDDEN, statistics))
        weights = blocks.drop(tf.cast(tf.nn.softmax(scores), value.dtype), places)
        return tf.matmul(weights, _with_neighbours(value, 3))

    return recomputed(context, query, key, value)


def _with_neighbours(blocks: tf.Tensor, axis: int, fill: int = 0) -> tf.Tensor:
    """Each block between the two beside it, along `axis`; the axis of the blocks is the one before."""
    rank = blocks.shape.rank
    paddings = [[0, 0]] * (axis - 1), [[0, 0]] * (rank - axis)
    padded = tf.pad(blocks, [*paddings[0], [1, 1], *paddings[1]], constant_values=tf.cast(fill, blocks.dtype))
    count = size_of(blocks, axis - 1)
    before = (slice(None),) * (axis - 1)
    return tf.concat([padded[(*before, slice(shift, shift + count))] for shift in range(3)], axis)
