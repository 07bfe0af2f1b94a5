"""Attention of every block of queries to every block of keys that it may read, one pair after the other.

A running maximum and normaliser make it exact, and the backward pass computes the weights of each pair again
(Dao et al., https://arxiv.org/abs/2205.14135; Milakov and Gimelshein, https://arxiv.org/abs/1805.02867).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm.layers.attention_blocks import HIDDEN, Blocks, size_of
from tf_mlm.layers.attention_mask import NOWHERE, near
from tf_mlm.layers.recompute import after

LEAST_PEAK = -1e9
"""Where maxima begin: `exp(HIDDEN - LEAST_PEAK)` is 0, so that a row without keys sums up to 0."""


def attend_in_pairs(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, blocks: Blocks) -> tf.Tensor:
    """What each query reads, each argument and the result [batch, heads, count, block, size]."""
    block, mask, statistics = blocks.block, blocks.mask, blocks.statistics
    first, last = _touching(blocks)

    def pair(i: tf.Tensor, j: tf.Tensor, query: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Scores [batch, heads, block, block] of one block of queries and one of keys."""
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), statistics)
        attends = mask.queries[:, i][:, :, tf.newaxis] == mask.keys[:, j][:, tf.newaxis]
        if mask.window is not None:
            offset = (i - j) * block
            distance = tf.range(block)[:, tf.newaxis] - tf.range(block) + offset
            attends = near(attends, distance, mask.window)
        return tf.where(attends[:, tf.newaxis], scores, tf.cast(HIDDEN, statistics))

    def drop(weights: tf.Tensor, i: tf.Tensor, j: tf.Tensor) -> tf.Tensor:
        def places() -> tuple[tf.Tensor, tf.Tensor]:
            return i * block + tf.range(block)[:, tf.newaxis], j * block + tf.range(block)

        return blocks.drop(weights, places)

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


def _touching(blocks: Blocks) -> tuple[Any, Any]:
    """For each block of queries the first block of keys that it may attend to, and the one behind the last.

    Where rows are not packed and there is no window, these are constants, and so the loops are of a length
    that XLA knows.
    """
    mask, count = blocks.mask, blocks.number
    index = tf.range(count)
    if not mask.is_packed and mask.window is None:
        return lambda i: 0, lambda i: count
    touches = tf.ones([count, count], tf.bool)
    if mask.window is not None:
        touches &= tf.abs(index[:, tf.newaxis] - index) <= -(-mask.window // blocks.block)
    if mask.is_packed:
        high = tf.int32.max
        least = tf.reduce_min(tf.where(mask.keys == NOWHERE, high, mask.keys), 2)  # [batch, count]
        most = tf.reduce_max(mask.keys, 2)
        from_, to = tf.reduce_min(mask.queries, 2), tf.reduce_max(mask.queries, 2)
        meets = (most[:, tf.newaxis] >= from_[:, :, tf.newaxis]) & (
            least[:, tf.newaxis] <= to[:, :, tf.newaxis]
        )
        touches &= tf.reduce_any(meets, 0)
    first = tf.reduce_min(tf.where(touches, index, count), 1)
    last = tf.reduce_max(tf.where(touches, index + 1, 0), 1)
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
    array = tf.TensorArray(like.dtype, size_of(like, 0), clear_after_read=False, element_shape=like.shape[1:])
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
        start = (row + LEAST_PEAK, row, tf.zeros_like(values[i], statistics))
        peak, total, context = _each(last(i), block_of_keys, start, first(i))
        total = tf.maximum(total, tf.cast(1e-30, statistics))
        contexts = contexts.write(i, tf.cast(context / total[..., tf.newaxis], values.dtype))
        return contexts, normalisers.write(i, peak + tf.math.log(total))

    arrays = _array(values), _array(tf.cast(queries[..., 0], statistics))
    contexts, normalisers = _each(size_of(queries, 0), block_of_queries, arrays)
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
    found = _each(size_of(queries, 0), block_of_queries, arrays)
    return [tf.cast(array.stack(), queries.dtype) for array in found]
