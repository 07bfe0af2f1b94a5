"""Softmax attention in blocks: exact, and with memory that grows as the length, not as its square.

Two forms, by what a layer reaches. Where every token may attend to every other one, blocks of queries meet
blocks of keys one after the other under a running maximum and normaliser, and the backward pass computes the
weights of each pair of blocks again (Dao et al., https://arxiv.org/abs/2205.14135; Milakov and Gimelshein,
https://arxiv.org/abs/1805.02867). Where a token attends to its neighbours only, each block of queries meets
its own block of keys and the two beside it, all blocks at once (Beltagy et al.,
https://arxiv.org/abs/2004.05150).

All shapes are static for XLA. Positions attend to each other where the two numbers of a document agree, so
one comparison keeps texts that share a row apart and leaves padding out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mlm.layers.dropout import kept
from tf_mlm.layers.recompute import after, recomputed

FULL_LENGTH, BAND_LENGTH = 1024, 256
"""From so many tokens on the blocks are faster than one product of all with all, or save much memory."""
BLOCK = 512
"""Queries, and keys, of a block where every token attends to every other one."""
LEAST_BAND = 64
"""The smallest block of a band; below, products are too small to be fast."""
WIDEST_BAND = 512
"""With a longer reach than this, blocks that stand beside each other hold much that is out of reach."""
NOWHERE = -1
"""The document of a key that nobody attends to."""

_LEAST_PEAK, _HIDDEN = -1e9, -2e9  # exp(_HIDDEN - _LEAST_PEAK) is 0, so a row without keys sums up to 0


class Visible(NamedTuple):
    """Who attends to whom: position i to position j where `queries[i] == keys[j]` and |i - j| <= `reach`.

    Attributes:
        queries, keys: int32 [batch, length], numbers of documents; of keys that are padding, `NOWHERE`.
        reach: how far; None for any distance.
        is_packed: whether a row holds several documents, so that some blocks need not be computed.
    """

    queries: tf.Tensor
    keys: tf.Tensor
    reach: int | None
    is_packed: bool

    @classmethod
    def of(cls, mask: tf.Tensor, documents: tf.Tensor | None, reach: int | None) -> Visible:
        """From the real positions, bool [batch, length], and the documents that share a row, if they do."""
        queries = tf.zeros_like(mask, tf.int32) if documents is None else documents
        return cls(queries, tf.where(mask, queries, NOWHERE), reach, documents is not None)

    def of_pairs(self) -> tf.Tensor:
        """Bool [batch, 1, length or 1, length]: whether a query attends to a key, for all of them at once."""
        if self.is_packed:
            attends = self.queries[:, tf.newaxis, :, tf.newaxis] == self.keys[:, tf.newaxis, tf.newaxis]
        else:
            attends = (self.keys != NOWHERE)[:, tf.newaxis, tf.newaxis]
        if self.reach is not None:
            place = tf.range(tf.shape(self.keys)[1])
            attends = _near(attends, place[:, tf.newaxis] - place, self.reach)
        return attends


def _near(attends: tf.Tensor, distance: tf.Tensor, reach: int) -> tf.Tensor:
    """Where `attends` holds and the distance is within reach.

    As numbers: a table of truth values known when traced would be written into the program, in a form that
    not every reader of StableHLO knows.
    """
    return tf.where(attends, tf.abs(distance), tf.int32.max) <= reach


class Dropout(NamedTuple):
    """The rate at which weights are dropped, and the seed, int32 [2] or None, that says which."""

    rate: float = 0.0
    seed: tf.Tensor | None = None


NO_DROPOUT = Dropout()


def takes_blocks(length: int | tf.Tensor, reach: int | None) -> bool | tf.Tensor:
    """Whether texts of this length are worth it."""
    return length >= (FULL_LENGTH if reach is None or reach > WIDEST_BAND else BAND_LENGTH)


def block_attention(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    visible: Visible,
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
        visible: who attends to whom.
        dropout: of the weights.
        statistics: the dtype of maxima, sums and the result of sums over blocks.
        block: tokens of a block, where it is not to be the measured one.

    Returns:
        float [batch, heads, length, size], in the dtype of `value`.

    Example:
        >>> x = tf.random.stateless_normal([1, 2, 6, 4], seed=[0, 1])
        >>> visible = Visible.of(tf.ones([1, 6], tf.bool), None, reach=None)
        >>> plain = tf.matmul(tf.nn.softmax(tf.matmul(x, x, transpose_b=True)), x)
        >>> bool(tf.reduce_max(tf.abs(block_attention(x, x, x, visible, block=4) - plain)) < 1e-6)
        True
    """
    reach = visible.reach
    is_band = reach is not None and reach <= WIDEST_BAND
    size = block or (max(reach or 0, LEAST_BAND) if is_band else BLOCK)
    length, batch = _size(query, 2), _size(query, 0)
    count = -(-length // size)
    padding = [[0, 0], [0, count * size - length]]

    def cut(x: tf.Tensor) -> tf.Tensor:
        """[batch, heads, length, size] → [batch, heads, count, block, size]."""
        x = tf.pad(x, [[0, 0], *padding, [0, 0]])
        return tf.reshape(x, [batch, x.shape[1], count, size, x.shape[3]])

    visible = visible._replace(
        queries=tf.reshape(tf.pad(visible.queries, padding), [batch, count, size]),
        keys=tf.reshape(tf.pad(visible.keys, padding, constant_values=NOWHERE), [batch, count, size]),
    )
    shape = _Shape(batch, query.shape[1], length, count, size)
    form = _band if is_band else _pairs
    context = form(cut(query), cut(key), cut(value), visible, dropout, shape, statistics)
    context = tf.reshape(context, [batch, query.shape[1], count * size, value.shape[3]])
    return tf.ensure_shape(context[:, :, :length], value.shape)


class _Shape(NamedTuple):
    """The numbers of rows, heads, tokens and blocks, and the tokens of a block."""

    batch: int | tf.Tensor
    heads: int
    length: int | tf.Tensor
    blocks: int | tf.Tensor
    block: int


def _size(x: tf.Tensor, axis: int) -> int | tf.Tensor:
    """The size of an axis as a number if it is known, else as a tensor."""
    return tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]


def _keeps(rows: tf.Tensor, columns: tf.Tensor, dropout: Dropout, shape: _Shape, rank: int) -> tf.Tensor:
    """Which weights stay, by where they stand among those of [batch, heads, length, length].

    `rows` and `columns` are positions, shaped to be broadcast against the `rank` axes of the weights, of
    which the first two are batch and heads.
    """
    texts = tf.range(shape.batch * shape.heads)
    texts = tf.reshape(texts, [shape.batch, shape.heads, *[1] * (rank - 2)])
    unsigned = [tf.bitcast(x, tf.uint32) for x in (texts, rows, columns, tf.convert_to_tensor(shape.length))]
    texts, rows, columns, length = unsigned
    return kept((texts * length + rows) * length + columns, dropout.rate, dropout.seed)


def _drop(weights: tf.Tensor, keeps: Callable[[], tf.Tensor], dropout: Dropout) -> tf.Tensor:
    if dropout.seed is None or not dropout.rate:
        return weights
    scale = tf.cast(1 / (1 - dropout.rate), weights.dtype)
    return tf.where(keeps(), weights * scale, tf.zeros([], weights.dtype))


def _band(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    visible: Visible,
    dropout: Dropout,
    shape: _Shape,
    statistics: tf.DType,
) -> tf.Tensor:
    """All blocks at once, each with its own keys and those of the blocks beside it."""
    assert visible.reach is not None
    block = shape.block
    places = tf.range(3 * block) - block  # of keys, from the first query of the block on
    distance = tf.range(block)[:, tf.newaxis] - places
    documents = _with_neighbours(visible.keys, 2, NOWHERE)[:, tf.newaxis, :, tf.newaxis]
    attends = _near(visible.queries[:, tf.newaxis, :, :, tf.newaxis] == documents, distance, visible.reach)

    def keeps() -> tf.Tensor:
        start = tf.range(shape.blocks)[:, tf.newaxis, tf.newaxis] * block
        rows = start + tf.range(block)[:, tf.newaxis]
        return _keeps(rows, start + places, dropout, shape, rank=5)

    def context(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        scores = tf.matmul(query, _with_neighbours(key, 3), transpose_b=True)
        scores = tf.where(attends, tf.cast(scores, statistics), tf.cast(_HIDDEN, statistics))
        weights = _drop(tf.cast(tf.nn.softmax(scores), value.dtype), keeps, dropout)
        return tf.matmul(weights, _with_neighbours(value, 3))

    return recomputed(context, query, key, value)


def _with_neighbours(blocks: tf.Tensor, axis: int, fill: int = 0) -> tf.Tensor:
    """Each block between the two beside it, along `axis`; the axis of the blocks is the one before."""
    rank = blocks.shape.rank
    paddings = [[0, 0]] * (axis - 1), [[0, 0]] * (rank - axis)
    padded = tf.pad(blocks, [*paddings[0], [1, 1], *paddings[1]], constant_values=tf.cast(fill, blocks.dtype))
    count = _size(blocks, axis - 1)
    before = (slice(None),) * (axis - 1)
    return tf.concat([padded[(*before, slice(shift, shift + count))] for shift in range(3)], axis)


def _pairs(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    visible: Visible,
    dropout: Dropout,
    shape: _Shape,
    statistics: tf.DType,
) -> tf.Tensor:
    """Block by block: those of the queries one after the other, and for each those of the keys."""
    block = shape.block
    first, last = _touching(visible, shape)

    def pair(i: tf.Tensor, j: tf.Tensor, query: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Scores [batch, heads, block, block] of one block of queries and one of keys."""
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), statistics)
        attends = visible.queries[:, i][:, :, tf.newaxis] == visible.keys[:, j][:, tf.newaxis]
        if visible.reach is not None:
            offset = (i - j) * block
            distance = tf.range(block)[:, tf.newaxis] - tf.range(block) + offset
            attends = _near(attends, distance, visible.reach)
        return tf.where(attends[:, tf.newaxis], scores, tf.cast(_HIDDEN, statistics))

    def drop(weights: tf.Tensor, i: tf.Tensor, j: tf.Tensor) -> tf.Tensor:
        def keeps() -> tf.Tensor:
            rows = i * block + tf.range(block)[:, tf.newaxis]
            return _keeps(rows, j * block + tf.range(block), dropout, shape, rank=4)

        return _drop(weights, keeps, dropout)

    @tf.custom_gradient
    def attend(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> Any:
        queries, keys, values = (_blocks_first(x) for x in (query, key, value))
        contexts, normalisers = _forward(queries, keys, values, pair, drop, first, last, statistics)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # Rounded as the context was where it went on, so that the product below fits its gradient.
            upstream = _blocks_first(upstream)
            shared = tf.reduce_sum(tf.cast(contexts, statistics) * tf.cast(upstream, statistics), -1)
            own = (*after(upstream, [queries, keys, values]), upstream, normalisers, shared)
            found = _backward(own, pair, drop, first, last, statistics)
            return tuple(_blocks_third(x) for x in found)

        return _blocks_third(contexts), gradient

    return attend(query, key, value)


def _blocks_first(x: tf.Tensor) -> tf.Tensor:
    """[batch, heads, count, ...] → [count, batch, heads, ...]: a block lies in one piece."""
    return tf.transpose(x, [2, 0, 1, *range(3, x.shape.rank)])


def _blocks_third(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, [1, 2, 0, *range(3, x.shape.rank)])


def _touching(visible: Visible, shape: _Shape) -> tuple[Any, Any]:
    """For each block of queries the first block of keys that it may attend to, and the one behind the last.

    Where rows are not packed and the reach is any, these are constants, and so the loops are of a length
    that XLA knows.
    """
    blocks = tf.range(shape.blocks)
    if not visible.is_packed and visible.reach is None:
        return lambda i: 0, lambda i: shape.blocks
    touches = tf.ones([shape.blocks, shape.blocks], tf.bool)
    if visible.reach is not None:
        touches &= tf.abs(blocks[:, tf.newaxis] - blocks) <= -(-visible.reach // shape.block)
    if visible.is_packed:
        high = tf.int32.max
        least = tf.reduce_min(tf.where(visible.keys == NOWHERE, high, visible.keys), 2)  # [batch, count]
        most = tf.reduce_max(visible.keys, 2)
        from_, to = tf.reduce_min(visible.queries, 2), tf.reduce_max(visible.queries, 2)
        meets = (most[:, tf.newaxis] >= from_[:, :, tf.newaxis]) & (
            least[:, tf.newaxis] <= to[:, :, tf.newaxis]
        )
        touches &= tf.reduce_any(meets, 0)
    first = tf.reduce_min(tf.where(touches, blocks, shape.blocks), 1)
    last = tf.reduce_max(tf.where(touches, blocks + 1, 0), 1)
    return lambda i: first[i], lambda i: last[i]


def _each(count: Any, body: Callable[..., Any], state: tuple[Any, ...], start: Any = 0) -> tuple[Any, ...]:
    """`state` after `body(index, *state)` for the indices from `start` to `count`."""
    _, *state = tf.while_loop(
        lambda index, *_: index < count,
        lambda index, *state: (index + 1, *body(index, *state)),
        (tf.convert_to_tensor(start), *state),
        parallel_iterations=1,
    )
    return tuple(state)


def _array(like: tf.Tensor) -> tf.TensorArray:
    """Zeros, a block of `like` an element."""
    array = tf.TensorArray(like.dtype, _size(like, 0), clear_after_read=False, element_shape=like.shape[1:])
    return array.unstack(tf.zeros_like(like))


def _forward(queries, keys, values, pair, drop, first, last, statistics):  # type: ignore[no-untyped-def]
    """What each block of queries reads, and the logarithms of its normalisers, blocks first."""

    def block_of_queries(i, contexts, normalisers):  # type: ignore[no-untyped-def]
        query = queries[i]

        def block_of_keys(j, peak, total, context):  # type: ignore[no-untyped-def]
            scores = pair(i, j, query, keys[j])
            new_peak = tf.maximum(peak, tf.reduce_max(scores, -1))
            weights = tf.exp(scores - new_peak[..., tf.newaxis])
            shrink = tf.exp(peak - new_peak)
            total = total * shrink + tf.reduce_sum(weights, -1)
            part = tf.matmul(drop(tf.cast(weights, values.dtype), i, j), values[j])
            context = context * shrink[..., tf.newaxis] + tf.cast(part, statistics)
            return new_peak, total, context

        row = tf.zeros_like(query[..., 0], statistics)
        start = (row + _LEAST_PEAK, row, tf.zeros_like(values[i], statistics))
        peak, total, context = _each(last(i), block_of_keys, start, first(i))
        total = tf.maximum(total, tf.cast(1e-30, statistics))
        contexts = contexts.write(i, tf.cast(context / total[..., tf.newaxis], values.dtype))
        return contexts, normalisers.write(i, peak + tf.math.log(total))

    arrays = _array(values), _array(tf.cast(queries[..., 0], statistics))
    contexts, normalisers = _each(_size(queries, 0), block_of_queries, arrays)
    return contexts.stack(), normalisers.stack()


def _backward(own, pair, drop, first, last, statistics):  # type: ignore[no-untyped-def]
    """Gradients of queries, keys and values, blocks first."""
    queries, keys, values, upstream, normalisers, shared = own

    def block_of_queries(i, query_gradients, key_gradients, value_gradients):  # type: ignore[no-untyped-def]
        query, above = queries[i], upstream[i]

        def block_of_keys(j, query_gradient, key_gradients, value_gradients):  # type: ignore[no-untyped-def]
            key = keys[j]
            weights = tf.exp(pair(i, j, query, key) - normalisers[i][..., tf.newaxis])
            dropped = drop(tf.cast(weights, values.dtype), i, j)
            value_part = tf.matmul(dropped, above, transpose_a=True)
            error = drop(tf.cast(tf.matmul(above, values[j], transpose_b=True), statistics), i, j)
            error = tf.cast(weights * (error - shared[i][..., tf.newaxis]), values.dtype)
            key_part = tf.matmul(error, query, transpose_a=True)
            return (
                query_gradient + tf.cast(tf.matmul(error, key), statistics),
                key_gradients.write(j, key_gradients.read(j) + tf.cast(key_part, statistics)),
                value_gradients.write(j, value_gradients.read(j) + tf.cast(value_part, statistics)),
            )

        start = (tf.zeros_like(query, statistics), key_gradients, value_gradients)
        query_gradient, *others = _each(last(i), block_of_keys, start, first(i))
        return query_gradients.write(i, tf.cast(query_gradient, queries.dtype)), *others

    arrays = (_array(queries), *(_array(tf.cast(x, statistics)) for x in (keys, values)))
    found = _each(_size(queries, 0), block_of_queries, arrays)
    return [tf.cast(array.stack(), queries.dtype) for array in found]
