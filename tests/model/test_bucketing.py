"""Chunks cover every row once, in bucket sizes only."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.model.bucketing import CALL, cheapest_chunk, chunk_size, in_chunks, pad_rows, round_up


@pytest.mark.parametrize(("size", "bucket"), [(0, 4), (1, 4), (4, 4), (5, 16), (16, 16), (99, 16)])
def test_round_up_takes_the_smallest_bucket_that_holds_it(size: int, bucket: int) -> None:
    assert round_up(tf.constant(size), (4, 16)).numpy() == bucket


@pytest.mark.parametrize(
    ("remaining", "size"),
    [(0, 1), (1, 1), (2, 1), (3, 4), (4, 4), (5, 4), (11, 4), (12, 16), (16, 16), (20, 16), (100, 16)],
)
def test_chunk_size_fills_three_quarters_or_takes_the_smaller_one(remaining: int, size: int) -> None:
    assert chunk_size(tf.constant(remaining), (1, 4, 16)).numpy() == size


def test_chunk_size_pads_when_there_is_no_smaller_bucket() -> None:
    assert chunk_size(tf.constant(2), (8, 16)).numpy() == 8


@pytest.mark.parametrize("seed", range(4))
def test_the_cheapest_chunk_has_the_least_padded_work_per_text(seed: int) -> None:
    batches, widths = (1, 4, 16, 32), (16, 32, 64, 128)
    lengths = np.sort(np.random.default_rng(seed).integers(3, 128, 70)).astype(np.int32)
    for start in range(70):

        def work(size: int, start: int = start) -> float:
            taken = min(size, 70 - start)
            width = min(width for width in widths if width >= lengths[start + taken - 1])
            return (CALL + size * width) / taken

        chosen = int(cheapest_chunk(tf.constant(lengths), tf.constant(start), batches, widths))
        assert work(chosen) == pytest.approx(min(map(work, batches)))


def test_a_few_long_texts_do_not_widen_the_short_ones() -> None:
    lengths = tf.constant([10] * 24 + [100] * 8)
    starts, start = [], 0
    while start < 32:
        starts.append(start)
        start += int(cheapest_chunk(lengths, tf.constant(start), (8, 32), (16, 128)))
    assert starts == [0, 8, 16, 24]
    assert int(cheapest_chunk(tf.constant([10] * 32), tf.constant(0), (8, 32), (16, 128))) == 32
    assert int(cheapest_chunk(tf.constant([], tf.int32), tf.constant(0), (8, 32), (16, 128))) == 8


@pytest.mark.parametrize("rows", [0, 1, 3, 5, 17, 100])
@pytest.mark.parametrize("buckets", [(1, 4, 16), (8,), (3, 5)])
@pytest.mark.parametrize("graph", [False, True])
def test_in_chunks_covers_every_row_once_in_order(rows: int, buckets: tuple[int, ...], graph: bool) -> None:
    sizes: list[int] = []

    def seen(size: np.ndarray) -> np.int32:
        sizes.append(int(size))
        return np.int32(0)

    def double(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def run(start: tf.Tensor, stop: tf.Tensor, size: tf.Tensor) -> list[tf.Tensor]:
            chunk = pad_rows(values[start:stop], size)
            unused = tf.numpy_function(seen, [tf.shape(chunk)[0]], tf.int32)
            with tf.control_dependencies([unused]):
                return [2 * chunk[: stop - start], tf.range(start, stop)]

        specs = [tf.TensorSpec([None, 2], tf.float32), tf.TensorSpec([None], tf.int32)]
        return tuple(in_chunks(run, tf.shape(values)[0], specs, buckets))

    values = tf.random.stateless_normal([rows, 2], seed=[1, 2])
    doubled, indices = (tf.function(double) if graph else double)(values)
    np.testing.assert_array_equal(doubled, 2 * values)
    np.testing.assert_array_equal(indices, np.arange(rows))
    assert set(sizes) <= set(buckets)
    assert len(sizes) >= 1
