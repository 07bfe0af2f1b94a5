"""Activations by name: Keras's names, and the ones that only Hugging Face configs use."""

from __future__ import annotations

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


_HUGGING_FACE: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_accurate": gelu_new,
    "gelu_fast": gelu_new,
    "gelu_new": gelu_new,
    "gelu_python": gelu,
    "gelu_pytorch_tanh": gelu_new,
    "quick_gelu": quick_gelu,
}


def get(activation: Any) -> Activation:
    """The function behind a name, a serialised Keras activation, a callable or None (the identity).

    Raises:
        ValueError: for a name that neither Keras nor Hugging Face knows.

    Example:
        >>> float(get("relu")(tf.constant(-1.0)))
        0.0
    """
    if isinstance(activation, str) and activation in _HUGGING_FACE:
        return _HUGGING_FACE[activation]
    try:
        return tf.keras.activations.get(activation)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "An activation must be None, a callable, or a name that Keras or Hugging Face knows, such as "
            f"'relu', 'gelu' or 'gelu_new'. Received: {activation!r}."
        ) from error


def serialize(activation: Activation) -> Any:
    """The name that `get` turns back into `activation`."""
    name = getattr(activation, "__name__", None)
    if name is not None and _HUGGING_FACE.get(name) is activation:
        return name
    return tf.keras.activations.serialize(activation)
