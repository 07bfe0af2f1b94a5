"""Rounding shapes up to a few sizes in the graph, so that XLA compiles a known number of programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

CALL = 32
"""What a call costs beside its tokens, in tokens: every weight is read once (BERT-base, 1×16 to 1×128)."""


def round_up(size: tf.Tensor, buckets: Sequence[int]) -> tf.Tensor:
    """The smallest bucket that holds `size`, or the largest one there is."""
    index = tf.searchsorted(tf.constant(buckets), [size])[0]
    return tf.gather(tf.constant(buckets), tf.minimum(index, len(buckets) - 1))


def chunk_size(remaining: tf.Tensor, buckets: Sequence[int]) -> tf.Tensor:
    """The bucket to run next when `remaining` rows are left.

    The next larger bucket if at least three quarters of it are filled, else the next smaller one,
    leaving the rest for another round: 5 rows and buckets (1, 4, 16) run as 4 + 1, not as 16.
    """
    sizes = tf.constant(buckets)
    above = round_up(remaining, buckets)
    below = tf.gather(sizes, tf.maximum(tf.searchsorted(sizes, [remaining], side="right")[0] - 1, 0))
    return tf.where((4 * remaining >= 3 * above) | (below > remaining), above, below)


def cheapest_chunk(
    lengths: tf.Tensor, start: tf.Tensor, batches: Sequence[int], widths: Sequence[int]
) -> tf.Tensor:
    """The number of rows to run next of texts sorted by length: the least padded work per text.

    A few long texts at the end are not made to widen a whole batch of shorter ones.

    Args:
        lengths: int32 [texts], ascending.
        start: the first text to run.
        batches: ascending row counts of the programs.
        widths: ascending lengths of the programs.

    Example:
        >>> lengths = tf.constant([10] * 24 + [100] * 8)
        >>> int(cheapest_chunk(lengths, 0, (8, 32), (16, 128)))
        8
    """
    sizes = tf.constant(batches)
    taken = tf.maximum(tf.minimum(sizes, tf.shape(lengths)[0] - start), 1)
    longest = tf.gather(tf.concat([lengths, [1]], 0), start + taken - 1)
    index = tf.minimum(tf.searchsorted(tf.constant(widths), longest), len(widths) - 1)
    work = CALL + sizes * tf.gather(tf.constant(widths), index)
    return tf.gather(sizes, tf.argmin(work / taken))


def next_chunk(remaining: int, buckets: Sequence[int]) -> int:
    """`chunk_size` in plain Python, for planning.

    Example:
        >>> next_chunk(5, (1, 4, 16)), next_chunk(12, (1, 4, 16))
        (4, 16)
    """
    above = next((size for size in buckets if size >= remaining), buckets[-1])
    below = max((size for size in buckets if size <= remaining), default=buckets[0])
    return above if 4 * remaining >= 3 * above or below > remaining else below


def pad_rows(tensor: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """`tensor` with zeros behind it on axis 0, up to `size` rows."""
    missing = size - tf.shape(tensor)[0]
    return tf.pad(tensor, [[0, missing]] + [[0, 0]] * (tensor.shape.rank - 1))


def in_chunks(
    run: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
    rows: tf.Tensor,
    outputs: Sequence[tf.TensorSpec],
    buckets: Sequence[int],
    size_at: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> list[tf.Tensor]:
    """Covers `rows` rows with chunks whose sizes are buckets.

    Args:
        run: called as `run(start, stop, size)`; handles rows [start, stop) in a program of `size` rows
            and returns any number of result rows per output.
        rows: int32 scalar; with zero rows, `run` is called once, for an empty range.
        outputs: what `run` returns; axis 0 is unknown.
        buckets: ascending sizes.
        size_at: chooses the bucket of the chunk that starts at a row (default: `chunk_size` does).

    Returns:
        Each output, concatenated over the chunks.
    """
    first = [
        tf.TensorArray(spec.dtype, size=1, dynamic_size=True, element_shape=spec.shape, infer_shape=False)
        for spec in outputs
    ]

    def body(index: tf.Tensor, start: tf.Tensor, *arrays: tf.TensorArray) -> tuple:
        size = chunk_size(rows - start, buckets) if size_at is None else size_at(start)
        stop = tf.minimum(start + size, rows)
        results = run(start, stop, size)
        written = [array.write(index, result) for array, result in zip(arrays, results, strict=True)]
        return (index + 1, stop, *written)

    _, _, *arrays = tf.while_loop(
        lambda index, start, *_: (index == 0) | (start < rows),
        body,
        (tf.constant(0), tf.constant(0), *first),
        # One at a time: the products inside use every core already, and memory stays bounded.
        parallel_iterations=1,
    )
    return [array.concat() for array in arrays]
