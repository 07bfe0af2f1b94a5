"""The same answer as `tf.math.top_k`, ties and infinities included."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.top_k import GROUP, top_k


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("entries", [5, GROUP, 10 * GROUP - 1, 10 * GROUP, 10 * GROUP + 1])
@pytest.mark.parametrize("kind", ["distinct", "ties", "infinite"])
def test_as_tensorflow_finds_them(kind: str, entries: int, xla: bool) -> None:
    rng = np.random.default_rng(entries)
    logits = {
        "distinct": lambda: rng.standard_normal((4, entries)),
        "ties": lambda: rng.integers(0, 3, (4, entries)),
        "infinite": lambda: np.where(
            rng.random((4, entries)) < 0.999, -np.inf, rng.standard_normal((4, entries))
        ),
    }[kind]().astype(np.float32)
    specification = tf.TensorSpec([None, entries], tf.float32)
    found = tf.function(lambda rows: top_k(rows, 5), [specification], jit_compile=xla or None)(logits)
    wanted = tf.math.top_k(logits, 5)
    np.testing.assert_array_equal(found[0], wanted.values)
    np.testing.assert_array_equal(found[1], wanted.indices)


def test_as_many_as_there_are() -> None:
    logits = tf.reshape(tf.range(2.0 * 3 * GROUP), [2, 3 * GROUP])
    for k in (1, 2, 3, 3 * GROUP):
        np.testing.assert_array_equal(top_k(logits, k)[1], tf.math.top_k(logits, k).indices)


def test_no_rows() -> None:
    values, ids = top_k(tf.zeros([0, 10 * GROUP]), 5)
    assert values.shape == ids.shape == (0, 5)
