"""Dropout: its rate, its scale, and that its mask is a function of seed and place alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.dropout import dropout, fold_in

SEED = tf.constant([3, 7])
ONES = tf.ones([400, 500])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_met_within_five_standard_deviations_and_the_rest_is_scaled(rate: float) -> None:
    dropped = dropout(ONES, rate, SEED).numpy()
    deviation = np.sqrt(rate * (1 - rate) / dropped.size)
    assert abs((dropped == 0).mean() - rate) < 5 * deviation
    np.testing.assert_allclose(dropped[dropped != 0], 1 / (1 - rate), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_are_dropped_evenly(axis: int) -> None:
    share = (dropout(ONES, 0.5, SEED).numpy() == 0).mean(axis)
    assert np.abs(share - 0.5).max() < 5 * np.sqrt(0.25 / ONES.shape[axis])


def test_without_a_seed_or_a_rate_nothing_is_dropped() -> None:
    assert dropout(ONES, 0.5, None) is ONES
    assert dropout(ONES, 0.0, SEED) is ONES
    assert fold_in(None, 3) is None


def test_the_same_seed_gives_the_same_mask_in_every_mode() -> None:
    eager = dropout(ONES, 0.3, SEED).numpy()
    for compiled in (False, True):
        function = tf.function(lambda x, seed: dropout(x, 0.3, seed), jit_compile=compiled, autograph=False)
        np.testing.assert_array_equal(function(ONES, SEED), eager)


@pytest.mark.parametrize("other", [tf.constant([4, 7]), tf.constant([3, 8]), fold_in(SEED, 1)])
def test_another_seed_gives_an_independent_mask(other: tf.Tensor) -> None:
    one, two = (dropout(ONES, 0.5, seed).numpy() == 0 for seed in (SEED, other))
    assert abs((one == two).mean() - 0.5) < 5 * np.sqrt(0.25 / one.size)


def test_the_gradient_passes_where_the_value_does() -> None:
    with tf.GradientTape() as tape:
        tape.watch(ONES)
        dropped = dropout(ONES, 0.3, SEED)
    np.testing.assert_allclose(tape.gradient(dropped, ONES), dropped)
