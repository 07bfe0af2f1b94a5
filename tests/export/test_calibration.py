"""Calibrated buckets: exactly the best there are, within the budget, and better than the defaults."""

from __future__ import annotations

import itertools
import random

import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.export.calibration import calibrate, length_buckets
from tf_mlm.model.bucketing import chunk_size, next_chunk
from tf_mlm.model.programs import compilations, default_buckets

CONFIG = ModelConfig()


def mean_work(lengths: list[int], sizes: tuple[int, ...], power: float) -> float:
    return sum(min(size for size in sizes if size >= length) ** power for length in lengths) / len(lengths)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("power", [1.0, 1.5])
def test_length_buckets_are_as_good_as_the_best_of_all_choices(seed: int, count: int, power: float) -> None:
    chance = random.Random(seed)
    lengths = [min(60, int(chance.lognormvariate(2.7, 0.6)) + 2) for _ in range(40)]
    limit = 60  # no multiple of eight, like some models' limits
    candidates = [*range(8, limit, 8)]
    best = min(
        mean_work(lengths, (*chosen, limit), power)
        for chosen in itertools.combinations(candidates, min(count, len(candidates)) - 1)
    )
    sizes, work = length_buckets(lengths, limit, count, lambda size: size**power)
    assert work == pytest.approx(best)
    assert work == pytest.approx(mean_work(lengths, sizes, power))
    assert sizes[-1] == limit
    assert len(sizes) <= count


def test_no_more_buckets_than_there_are_lengths() -> None:
    assert length_buckets([10, 11, 16], 128, 9, float)[0] == (16, 128)


@pytest.mark.parametrize("programs", [5, 8, 12, 40, 80])
def test_the_budget_holds_and_more_of_it_never_hurts(programs: int) -> None:
    chance = random.Random(1)
    lengths = [int(chance.lognormvariate(3.2, 0.5)) + 2 for _ in range(300)]
    found = calibrate(lengths, [1] * 300, CONFIG, programs=programs)
    assert found.programs == compilations(found.buckets) <= programs
    assert found.buckets.length[-1] == CONFIG.max_length
    assert found.padding <= calibrate(lengths, [1] * 300, CONFIG, programs=max(5, programs - 4)).padding


def test_it_pads_less_than_the_default_buckets_with_as_many_programs() -> None:
    lengths = [19, 20, 21, 22, 23, 24, 70] * 20
    default = default_buckets(CONFIG.max_length)
    found = calibrate(lengths, [1] * len(lengths), CONFIG, programs=compilations(default))
    assert {24, 72} <= set(found.buckets.length)
    assert mean_work(lengths, found.buckets.length, 1) < 0.8 * mean_work(lengths, default.length, 1)


def test_many_masks_per_text_make_the_largest_mask_bucket_larger() -> None:
    few = calibrate([20] * 9, [1] * 9, CONFIG, programs=20).buckets.masks
    many = calibrate([20] * 9, [3] * 9, CONFIG, programs=20).buckets.masks
    assert (few[-1], many[-1]) == (32, 96)


def test_small_batches_get_programs_of_their_own() -> None:
    # One program of 32 rows for everything would be cheap to compile but waste most of its rows.
    assert len(calibrate([16] * 9, [1] * 9, CONFIG, programs=40).buckets.batch) > 2


@pytest.mark.parametrize("buckets", [(1, 4, 16, 32), (8, 16), (3, 5)])
def test_planning_cuts_requests_as_the_graph_does(buckets: tuple[int, ...]) -> None:
    for remaining in range(1, 70):
        assert next_chunk(remaining, buckets) == chunk_size(tf.constant(remaining), buckets).numpy()


def test_what_cannot_be_calibrated_is_said() -> None:
    with pytest.raises(ValueError, match=r"at least one text. Received: none"):
        calibrate([], [], CONFIG, programs=40)
    with pytest.raises(ValueError, match=r"needs 5 programs. Received: a budget of 4"):
        calibrate([10], [1], CONFIG, programs=4)
