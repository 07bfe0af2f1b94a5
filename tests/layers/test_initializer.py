"""Initial values: Keras's numbers for the same seed, whatever library Keras itself computes with."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers import initializer as initializers

NAMES = [
    "zeros",
    "ones",
    "constant",
    "identity",
    "random_normal",
    "random_uniform",
    "truncated_normal",
    "orthogonal",
    "variance_scaling",
    *(f"{name}_{kind}" for name in ("glorot", "he", "lecun") for kind in ("normal", "uniform")),
]


def config_of(name: str, **changes: Any) -> dict[str, Any]:
    """Keras's config of an initializer, seeded where it can be."""
    theirs = keras.initializers.Constant() if name == "constant" else keras.initializers.get(name)
    config = keras.initializers.serialize(theirs)  # `get("constant")` is a KeyError in Keras
    config["config"] = {**config["config"], **changes}
    if "seed" in config["config"]:
        config["config"]["seed"] = 17
    return config


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_keras_own(name: str, dtype: str) -> None:
    if name == "orthogonal" and dtype == "bfloat16":
        pytest.skip("TensorFlow has no QR decomposition in bfloat16")
    config = config_of(name)
    theirs = keras.initializers.get(config)
    for shape in ([7, 5], [5, 7]):
        wanted = tf.cast(theirs(shape, dtype=dtype), tf.float32)
        for given in (config, theirs, initializers.get(config)):
            ours = initializers.get(given)(shape, dtype)
            assert ours.dtype == dtype
            np.testing.assert_allclose(tf.cast(ours, tf.float32), wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "changes", "shape"),
    [
        ("variance_scaling", {"mode": "fan_out", "distribution": "uniform", "scale": 3.0}, [4, 6]),
        ("variance_scaling", {"mode": "fan_avg", "distribution": "untruncated_normal"}, [4, 6]),
        ("truncated_normal", {"mean": 2.0, "stddev": 0.5}, [9]),
        ("random_uniform", {"minval": 1.0, "maxval": 2.0}, [3, 2, 4]),
        ("glorot_uniform", {}, [3, 2, 4]),
        ("he_normal", {}, [9]),
        ("constant", {"value": 3}, [2]),
        ("identity", {"gain": 2.0}, [3, 3]),
        ("orthogonal", {"gain": 2.0}, [2, 3, 4]),
    ],
    ids=str,
)
def test_arguments_and_shapes_mean_what_they_mean_in_keras(name: str, changes: dict, shape: list) -> None:
    config = config_of(name, **changes)
    wanted = keras.initializers.get(config)(shape, dtype="float32")
    np.testing.assert_allclose(initializers.get(config)(shape), wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [*NAMES, "uniform", "normal", "zero", "one", "GlorotUniform"])
def test_a_config_goes_to_keras_and_back(name: str) -> None:
    config = initializers.serialize(initializers.get(name))
    theirs = keras.initializers.get(config)
    assert type(theirs).__name__ == config["class_name"]
    again = initializers.get(keras.initializers.serialize(theirs))
    assert initializers.serialize(again)["class_name"] == config["class_name"]
    assert config["config"].items() <= initializers.serialize(again)["config"].items()


def test_unseeded_ones_differ_from_each_other_and_repeat_themselves() -> None:
    once, other = initializers.get("glorot_uniform"), initializers.get("glorot_uniform")
    np.testing.assert_array_equal(once([4, 4]), once([4, 4]))
    assert np.any(once([4, 4]) != other([4, 4]))
    keras.utils.set_random_seed(3)
    first = initializers.get("he_normal")([4, 4])
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(initializers.get("he_normal")([4, 4]), first)


@keras.saving.register_keras_serializable("tests")
class Sevens(keras.initializers.Initializer):
    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return np.full(shape, 7)

    def get_config(self) -> dict[str, Any]:
        return {}


def test_callables_values_and_registered_ones() -> None:
    np.testing.assert_array_equal(initializers.get(lambda shape, dtype: np.ones(shape))([2]), [1, 1])
    np.testing.assert_array_equal(initializers.get(np.array([1, 2]))([2], "bfloat16"), [1, 2])
    with pytest.raises(ValueError, match=r"shape \[2\] for a variable of shape \[3\]"):
        initializers.get(np.array([1, 2]))([3])
    for given in (Sevens(), Sevens, "tests>Sevens", initializers.serialize(initializers.get(Sevens()))):
        values = initializers.get(given)([2], "float32")
        assert values.dtype == tf.float32
        np.testing.assert_array_equal(values, [7, 7])


@pytest.mark.parametrize("given", ["glorot_unifrom", 3, None, {"class_name": "Nonsense", "config": {}}, {}])
def test_what_is_none_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"An initializer must be a name that Keras knows.*Received"):
        initializers.get(given)
