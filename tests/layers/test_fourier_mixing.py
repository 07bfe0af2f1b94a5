"""The transform of FNet, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.fourier_mixing import FourierMixing


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize(("length", "hidden"), [(1, 2), (7, 6), (33, 16)])
def test_each_row_is_transformed_over_its_own_length(length: int, hidden: int, jit_compile: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, length, hidden)).astype(np.float32)
    lengths = np.array([length, max(1, length // 2), 1, 0])
    mask = np.arange(length) < lengths[:, np.newaxis]
    mixing = tf.function(FourierMixing(hidden), jit_compile=jit_compile)
    mixed = mixing(tf.constant(x), tf.constant(mask)).numpy()
    for row, size in enumerate(lengths):
        wanted = np.fft.fft2(x[row, :size]).real if size else x[row, :0]
        np.testing.assert_allclose(mixed[row, :size], wanted, atol=2e-5 * max(1, length))
        np.testing.assert_array_equal(mixed[row, size:], 0)


def test_long_texts_keep_their_digits() -> None:
    x = np.random.default_rng(0).normal(size=(1, 1024, 2)).astype(np.float32)
    mixed = FourierMixing(2)(tf.constant(x), tf.ones([1, 1024], tf.bool))
    np.testing.assert_allclose(mixed[0], np.fft.fft2(x[0]).real, atol=1e-3)
