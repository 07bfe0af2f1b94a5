"""Activations by name: Keras's names, and the ones that only Hugging Face configs use.

All are TensorFlow's own: what Keras keeps under these names computes with whatever library
`KERAS_BACKEND` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Activation = Callable[[tf.Tensor], tf.Tensor]


def gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU, exact: `x Φ(x)`. Keras writes Φ with erfc, which XLA computes at twice the cost of erf."""
    return 0.5 * x * (1.0 + tf.math.erf(x * 0.5**0.5))


def gelu_new(x: tf.Tensor) -> tf.Tensor:
    """GELU by its tanh approximation (Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415)."""
    return tf.nn.gelu(x, approximate=True)


def quick_gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU by its logistic approximation, `x * sigmoid(1.702 x)`."""
    return x * tf.sigmoid(1.702 * x)


def linear(x: tf.Tensor) -> tf.Tensor:
    """The identity."""
    return x


def _hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu6(x + 3.0) / 6.0


def _shrink(x: tf.Tensor, shrunk: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.abs(x) > 0.5, shrunk, tf.zeros_like(x))


_KERAS: dict[str, Activation] = {
    "linear": linear,
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "gelu": gelu,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "softmax": tf.nn.softmax,
    "silu": tf.nn.silu,
    "elu": tf.nn.elu,
    "selu": tf.nn.selu,
    "celu": lambda x: tf.nn.elu(x),
    "exponential": tf.exp,
    "hard_shrink": lambda x: _shrink(x, x),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda x: x * _hard_sigmoid(x),
    "hard_tanh": lambda x: tf.clip_by_value(x, -1.0, 1.0),
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, 0.2),
    "log_sigmoid": tf.math.log_sigmoid,
    "log_softmax": tf.nn.log_softmax,
    "mish": lambda x: x * tf.tanh(tf.nn.softplus(x)),
    "soft_shrink": lambda x: _shrink(x, x - 0.5 * tf.sign(x)),
    "softplus": tf.nn.softplus,
    "softsign": tf.nn.softsign,
    "sparse_plus": lambda x: tf.where(x < 1.0, tf.square(tf.nn.relu(x + 1.0)) / 4.0, x),
    "sparse_sigmoid": lambda x: tf.clip_by_value(0.5 * (x + 1.0), 0.0, 1.0),
    "squareplus": lambda x: 0.5 * (x + tf.sqrt(tf.square(x) + 4.0)),
    "tanh_shrink": lambda x: x - tf.tanh(x),
}
_ALIASES: dict[str, Activation] = {
    "swish": _KERAS["silu"],
    "hard_swish": _KERAS["hard_silu"],
    "gelu_new": gelu_new,
    "gelu_accurate": gelu_new,
    "gelu_fast": gelu_new,
    "gelu_python": gelu,
    "gelu_pytorch_tanh": gelu_new,
    "quick_gelu": quick_gelu,
}
_MODULES = re.compile(r"(tf_)?keras\.(.*\.)?activations\b")
_NAMES = {function: name for name, function in reversed((_KERAS | _ALIASES).items())}


def get(activation: Any) -> Activation:
    """The function behind a name, a serialised Keras activation, a callable or None (the identity).

    Raises:
        ValueError: for a name that neither Keras nor Hugging Face knows.

    Example:
        >>> float(get("relu")(tf.constant(-1.0)))
        0.0
    """
    if activation is None:
        return linear
    name = activation
    if isinstance(activation, dict) and activation.get("class_name") == "function":
        name = activation.get("config")
    elif callable(activation) and _MODULES.match(str(getattr(activation, "__module__", ""))):
        name = getattr(activation, "__name__", None)  # Keras's own function of that name
    found = (_KERAS | _ALIASES).get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    if callable(activation):
        return activation
    try:  # a function that was registered with Keras, or one of its names that needs more arguments
        import keras

        return keras.activations.get(activation)
    except Exception as error:
        raise ValueError(
            "An activation must be None, a callable, or a name that Keras or Hugging Face knows, such as "
            f"'relu', 'gelu' or 'gelu_new'. Received: {activation!r}."
        ) from error


def activated(activation: Activation, x: tf.Tensor) -> tf.Tensor:
    """`activation(x)`, which must be a tensor of TensorFlow, or no gradient would flow through it.

    Raises:
        TypeError: if it is something else.
    """
    outputs = activation(x)
    if not tf.is_tensor(outputs):
        raise TypeError(
            "An activation must return a tensor of TensorFlow. Received: "
            f"a {type(outputs).__module__}.{type(outputs).__name__} from {activation!r}. Give its name, or a "
            "function of TensorFlow; Keras's operations compute with what KERAS_BACKEND says."
        )
    return outputs


def serialize(activation: Activation) -> Any:
    """The name, or else Keras's serialised form, that `get` turns back into `activation`."""
    if activation in _NAMES:
        return _NAMES[activation]
    import keras

    return keras.activations.serialize(activation)
