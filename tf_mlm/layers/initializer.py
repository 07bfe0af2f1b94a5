"""Initial values by name: Keras's names, arguments and numbers, computed by TensorFlow.

Keras itself computes them with whatever library `KERAS_BACKEND` says, and a tensor of torch is no value
for a `tf.Variable`. So Keras's own initializers are read for what they describe, and not called.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

Initializer = Callable[..., Any]
"""From a shape and a dtype to the values."""

_SCALES = {"Glorot": (1.0, "fan_avg"), "He": (2.0, "fan_in"), "Lecun": (1.0, "fan_in")}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "Zeros": {},
    "Ones": {},
    "Constant": {"value": 0.0},
    "Identity": {"gain": 1.0},
    "RandomNormal": {"mean": 0.0, "stddev": 0.05, "seed": None},
    "RandomUniform": {"minval": -0.05, "maxval": 0.05, "seed": None},
    "TruncatedNormal": {"mean": 0.0, "stddev": 0.05, "seed": None},
    "Orthogonal": {"gain": 1.0, "seed": None},
    "VarianceScaling": {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal", "seed": None},
    **{f"{name}{kind}": {"seed": None} for name in _SCALES for kind in ("Normal", "Uniform")},
}
_ALIASES = {"normal": "RandomNormal", "uniform": "RandomUniform", "zero": "Zeros", "one": "Ones"}
_AXES = ("input_axes", "output_axes")
# Standard deviation of a normal distribution that is cut at two of its standard deviations.
_CUT = 0.87962566103423978


@dataclasses.dataclass(frozen=True)
class Named:
    """One of Keras's initializers: calling it twice gives the same numbers, as there.

    Example:
        >>> Named("Constant", {"value": 2.0})([2], "float32").numpy().tolist()
        [2.0, 2.0]
    """

    class_name: str
    config: dict[str, Any]
    seed: int = dataclasses.field(default_factory=lambda: random.randint(1, 10**9))

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> tf.Tensor:
        given = {**_DEFAULTS[self.class_name], **self.config}
        seed = self.seed if given.get("seed") is None else given["seed"]
        pair = tf.constant([seed % (2**31 - 2), 0], tf.int32)  # as Keras makes one of a number
        dtype = tf.as_dtype(dtype)
        name = self.class_name
        if name == "Zeros":
            return tf.zeros(shape, dtype)
        if name == "Ones":
            return tf.ones(shape, dtype)
        if name == "Constant":
            return tf.broadcast_to(tf.cast(given["value"], dtype), shape)
        if name == "Identity":
            return given["gain"] * tf.eye(*shape, dtype=dtype)
        if name == "RandomNormal":
            return tf.random.stateless_normal(shape, pair, given["mean"], given["stddev"], dtype)
        if name == "TruncatedNormal":
            return tf.random.stateless_truncated_normal(shape, pair, given["mean"], given["stddev"], dtype)
        if name == "RandomUniform":
            least, most = tf.cast(given["minval"], dtype), tf.cast(given["maxval"], dtype)
            return tf.random.stateless_uniform(shape, pair, least, most, dtype)
        if name == "Orthogonal":
            return _orthogonal(shape, pair, given["gain"], dtype)
        return _scaled(name, given, shape, pair, dtype)


def truncated_normal(stddev: float, seed: int | None = None) -> Named:
    """Normal with mean 0, cut at two standard deviations, as BERT's weights start.

    Example:
        >>> truncated_normal(0.02, seed=1)([3]).shape
        TensorShape([3])
    """
    return Named("TruncatedNormal", {"stddev": stddev, "seed": seed})


def _scaled(
    name: str, given: dict[str, Any], shape: Sequence[int], seed: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """Values whose variance follows from the number of inputs and outputs."""
    if name == "VarianceScaling":
        scale, mode, distribution = given["scale"], given["mode"], given["distribution"]
    else:
        kind = "Normal" if name.endswith("Normal") else "Uniform"
        scale, mode = _SCALES[name.removesuffix(kind)]
        distribution = "truncated_normal" if kind == "Normal" else "uniform"
    fan_in, fan_out = _fans(shape, *(given.get(axes) for axes in _AXES))
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    variance = scale / max(1.0, fan)
    if distribution == "truncated_normal":
        return tf.random.stateless_truncated_normal(shape, seed, 0.0, math.sqrt(variance) / _CUT, dtype)
    if distribution == "untruncated_normal":
        return tf.random.stateless_normal(shape, seed, 0.0, math.sqrt(variance), dtype)
    limit = tf.cast(math.sqrt(3 * variance), dtype)
    return tf.random.stateless_uniform(shape, seed, -limit, limit, dtype)


def _fans(shape: Sequence[int], inputs: Any = None, outputs: Any = None) -> tuple[int, int]:
    """The number of inputs and of outputs of a weight of this shape."""
    if inputs is not None and outputs is not None:
        return math.prod(shape[axis] for axis in inputs), math.prod(shape[axis] for axis in outputs)
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def _orthogonal(shape: Sequence[int], seed: tf.Tensor, gain: float, dtype: tf.DType) -> tf.Tensor:
    if len(shape) < 2:
        raise ValueError(f"An orthogonal matrix needs two axes or more. Received: shape={list(shape)}.")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    drawn = tf.random.stateless_normal([max(rows, columns), min(rows, columns)], seed, dtype=dtype)
    q, r = tf.linalg.qr(drawn)
    q *= tf.sign(tf.linalg.diag_part(r))
    return gain * tf.reshape(tf.transpose(q) if rows < columns else q, shape)


def get(initializer: Any) -> Initializer:
    """The initializer behind a name, an object or serialised form of Keras, values, or a callable.

    Raises:
        ValueError: for what is none of these.

    Example:
        >>> get("ones")([1, 2], "float32").numpy().tolist()
        [[1.0, 1.0]]
    """
    if isinstance(initializer, Named):
        return initializer
    if inspect.isclass(initializer):
        initializer = initializer()
    if isinstance(initializer, str):
        initializer = {"class_name": initializer, "config": {}}
    if isinstance(initializer, dict) and isinstance(initializer.get("class_name"), str):
        name = initializer["class_name"]
        name = _ALIASES.get(name) or "".join(part[:1].upper() + part[1:] for part in name.split("_"))
        found = _named(name, initializer.get("config") or {})
        return found or _from_keras(initializer)
    if isinstance(initializer, (tf.Tensor, tf.Variable, np.ndarray)):
        return _values(initializer)
    if callable(initializer):
        kind = type(initializer)
        if kind.__module__.startswith(("keras.", "tf_keras.")) and hasattr(initializer, "get_config"):
            seed = getattr(initializer, "seed", None)
            drawn = {"seed": seed} if isinstance(seed, int) else {}
            found = _named(kind.__name__, initializer.get_config(), **drawn)
            return found or _FromCallable(initializer)
        return _FromCallable(initializer)
    raise _refusal(initializer)


def _named(name: str, config: dict[str, Any], **drawn: int) -> Named | None:
    """None where the name or an argument is one that only Keras knows."""
    if name not in _DEFAULTS or not set(config) <= {*_DEFAULTS[name], *_AXES}:
        return None
    if not isinstance(config.get("seed"), int | None):
        return None
    return Named(name, dict(config), **drawn)


def _from_keras(config: dict[str, Any]) -> Initializer:
    """What only Keras knows: an initializer that was registered there."""
    try:
        import keras

        return _FromCallable(keras.initializers.get(config if len(config) > 2 else config["class_name"]))
    except Exception as error:
        raise _refusal(config["class_name"] if not config.get("config") else config) from error


def _refusal(received: Any) -> ValueError:
    return ValueError(
        "An initializer must be a name that Keras knows, such as 'glorot_uniform' or 'zeros', one of its "
        f"objects or configs, values, or a callable of (shape, dtype). Received: {received!r}."
    )


@dataclasses.dataclass(frozen=True)
class _FromCallable:
    """A callable of the user or of Keras, whose values become TensorFlow's."""

    function: Initializer

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> tf.Tensor:
        values = self.function(tuple(shape), dtype=tf.as_dtype(dtype).name)
        if not tf.is_tensor(values):
            values = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
        return tf.cast(values, dtype)


def _values(given: Any) -> Initializer:
    def initialize(shape: Sequence[int], dtype: Any = "float32") -> tf.Tensor:
        if list(shape) != list(given.shape):
            raise ValueError(
                "Values given as an initializer must have the shape of the variable. "
                f"Received: shape {list(given.shape)} for a variable of shape {list(shape)}."
            )
        return tf.cast(given, dtype)

    return initialize


def serialize(initializer: Initializer) -> Any:
    """The form that `get`, here and in Keras, turns back into `initializer`."""
    if isinstance(initializer, Named):
        config = {**_DEFAULTS[initializer.class_name], **initializer.config}
        return {
            "module": "keras.initializers",
            "class_name": initializer.class_name,
            "config": config,
            "registered_name": None,
        }
    import keras

    return keras.initializers.serialize(getattr(initializer, "function", initializer))
