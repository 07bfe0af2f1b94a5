"""Activations: Keras's values and gradients under each of its names."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers import activation as activations

KERAS = sorted({*keras.src.activations.ALL_OBJECTS_DICT} - {"glu", "sparsemax", "threshold"})
X = np.concatenate([np.linspace(-8, 8, 65), [-3, -1, -0.5, 0, 0.5, 1, 3]]).astype(np.float32).reshape(8, 9)


@pytest.mark.parametrize("name", KERAS)
def test_values_and_gradients_are_keras_own(name: str) -> None:
    results = []
    for function in (activations.get(name), keras.activations.get(name)):
        x = tf.constant(X + 1e-3)  # beside the kinks
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
            loss = tf.reduce_sum(y * tf.range(9.0))
        results.append((y, tape.gradient(loss, x)))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(activations.get(name)(X), keras.activations.get(name)(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*KERAS, "gelu_new", "gelu_python", "quick_gelu", "swish"])
def test_a_name_survives_serialising(name: str) -> None:
    function = activations.get(name)
    assert activations.get(activations.serialize(function)) is function
    if name in KERAS:
        assert keras.activations.get(activations.serialize(function)) is keras.activations.get(name)
        assert activations.get(keras.activations.get(name)) is function
        assert activations.get(keras.saving.serialize_keras_object(keras.activations.get(name))) is function


def test_functions_of_the_user_stay_what_they_are() -> None:
    def gelu(x: tf.Tensor) -> tf.Tensor:
        return x * 3

    gelu.__module__ = "my.activations"
    assert activations.get(gelu) is gelu
    assert activations.get(None)(3) == 3


def test_what_is_no_tensor_of_tensorflow_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must return a tensor of TensorFlow. Received: a numpy.ndarray"):
        activations.activated(lambda x: np.asarray(x), tf.ones([2]))
