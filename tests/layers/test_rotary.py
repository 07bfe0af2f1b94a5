"""Rotary positions against complex numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.rotary import Rotary, rotary


@pytest.mark.parametrize("theta", [10_000.0, 160_000.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("bfloat16", 0.05)])
def test_it_turns_pairs_as_complex_numbers_do(theta: float, dtype: str, tolerance: float) -> None:
    x = np.random.default_rng(0).normal(size=[2, 3, 40, 8])
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(
        1j * np.arange(40)[:, np.newaxis] * theta ** (-np.arange(0, 8, 2) / 8)
    )
    ours = rotary(tf.cast(tf.constant(x), dtype), theta)
    assert ours.dtype == dtype
    wanted = np.concatenate([turned.real, turned.imag], -1)
    np.testing.assert_allclose(tf.cast(ours, tf.float64), wanted, atol=tolerance * np.abs(wanted).max())


def test_products_depend_on_the_distance_alone() -> None:
    vectors = tf.random.stateless_normal([2, 1, 1, 1, 16], seed=[0, 1], dtype=tf.float64)
    query, key = (rotary(tf.repeat(vector, 30, axis=2), 10_000.0)[0, 0] for vector in vectors)
    products = tf.matmul(query, key, transpose_b=True).numpy()
    for distance in (-7, 0, 3):
        np.testing.assert_allclose(
            np.diagonal(products, distance), products.diagonal(distance)[0], atol=1e-10
        )


@pytest.mark.parametrize("stored", [None, "frequencies", "angles"])
def test_neighbours_turn_as_complex_numbers_do(stored: str | None) -> None:
    x = np.random.default_rng(0).normal(size=[2, 3, 9, 8])
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(
        1j * np.arange(9)[:, np.newaxis] * 100.0 ** (-np.arange(0, 8, 2) / 8)
    )
    ours = Rotary(8, 100.0, interleaved=True, stored=stored, positions=12)(tf.constant(x))
    np.testing.assert_allclose(ours[..., ::2], turned.real, atol=1e-6)
    np.testing.assert_allclose(ours[..., 1::2], turned.imag, atol=1e-6)


@pytest.mark.parametrize(("stored", "shape"), [("frequencies", [4]), ("angles", [12, 8])])
def test_what_is_stored_is_what_turns_and_is_not_trained(stored: str, shape: list[int]) -> None:
    turn = Rotary(8, 100.0, stored=stored, positions=12)
    assert turn.stored is not None
    assert (turn.stored.shape, turn.trainable_variables) == (shape, ())
    turn.stored.assign(tf.zeros(shape))
    zero = turn(tf.ones([1, 1, 5, 8])).numpy()
    np.testing.assert_array_equal(zero, np.ones([1, 1, 5, 8]) if stored == "frequencies" else 0 * zero)
