"""Activations, precision policies, dropout and attention masks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from reference import numpy_bert

from tf_mlm.layers import activation as activations
from tf_mlm.layers.dropout import dropout, fold_in
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.self_attention import SelfAttention, length_mask


@pytest.mark.parametrize("name", sorted(numpy_bert.ACTIVATIONS))
def test_activation_equals_its_float64_twin(name: str) -> None:
    x = np.linspace(-6, 6, 101)
    actual = activations.get(name)(tf.constant(x, tf.float32))
    np.testing.assert_allclose(actual, numpy_bert.ACTIVATIONS[name](x), atol=2e-6)


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "gelu_python", "quick_gelu", "relu", "linear", None])
def test_activation_survives_its_name(name: str | None) -> None:
    function = activations.get(name)
    assert activations.get(activations.serialize(function)) is function


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"None, a callable, or a name that Keras.*Received: 'geluu'"):
        activations.get("geluu")


@pytest.mark.parametrize(
    ("dtype", "compute", "variable"),
    [
        ("float32", "float32", "float32"),
        (tf.bfloat16, "bfloat16", "bfloat16"),
        (np.float32, "float32", "float32"),
        (np.dtype("float16"), "float16", "float16"),
        ("mixed_bfloat16", "bfloat16", "float32"),
        (tf.keras.DTypePolicy("mixed_bfloat16"), "bfloat16", "float32"),
        (tf.keras.dtype_policies.serialize(tf.keras.DTypePolicy("mixed_float16")), "float16", "float32"),
    ],
    ids=str,
)
def test_policy_in_every_spelling(dtype: object, compute: str, variable: str) -> None:
    precision = Precision.of(dtype)
    assert (precision.compute, precision.variable) == (compute, variable)
    assert Precision.of(precision.name) == precision


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mixed policy.*Received: dtype='mixed_int8'"):
        Precision.of("mixed_int8")


def test_dropout_is_a_function_of_its_seed() -> None:
    x, seed = tf.ones([1000]), tf.constant([1, 2])
    once = dropout(x, 0.25, seed)
    np.testing.assert_array_equal(once, dropout(x, 0.25, seed))
    assert not np.array_equal(once, dropout(x, 0.25, fold_in(seed, 1)))
    assert set(np.unique(once)) == {np.float32(0), np.float32(1 / 0.75)}
    assert np.mean(once.numpy() == 0) == pytest.approx(0.25, abs=0.05)
    assert dropout(x, 0.0, seed) is x
    assert fold_in(None, 3) is None


def test_lengths_make_the_mask() -> None:
    mask = length_mask(tf.constant([2, 0, 5], tf.int64), tf.constant(3))
    assert mask.numpy().tolist() == [[True, True, False], [False] * 3, [True] * 3]


def test_attention_ignores_what_the_mask_hides_and_stays_finite_without_anything() -> None:
    attention = SelfAttention(8, heads=2)
    x = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)
    mask = np.array([[True, True, False, False], [False] * 4])
    garbage = np.where(mask[..., None], x, 1e6).astype(np.float32)
    np.testing.assert_allclose(attention(x, mask)[0, :2], attention(garbage, mask)[0, :2], atol=1e-6)
    assert np.all(np.isfinite(attention(x, mask)))


def test_heads_must_divide_hidden() -> None:
    with pytest.raises(ValueError, match=r"divide `hidden`. Received: heads=3, hidden=8. Choose"):
        SelfAttention(8, heads=3)
