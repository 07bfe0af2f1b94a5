"""What a caller passed in as a tensor, or an error that names the argument, the rule and what came instead.

Without it, what TensorFlow says of a wrong input names an operation somewhere inside, not the argument.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_KINDS = {
    "integers": lambda dtype: dtype.is_integer,
    "floating point": lambda dtype: dtype.is_floating,
    "strings": lambda dtype: dtype == tf.string,
    "numbers": lambda dtype: dtype.is_integer or dtype.is_floating,
}


def tensor_argument(
    value: Any, name: str, kind: str, shape: str | None = None, *, keras_layer: str | None = None
) -> tf.Tensor:
    """`value` as a dense tensor of a kind and rank.

    Args:
        value: a tensor, an array, numbers in lists, or anything else that TensorFlow reads as a tensor.
        name: the argument's name, for the message.
        kind: `integers`, `floating point`, `numbers` (both) or `strings`.
        shape: its axes in words, such as `[batch, length]`; None allows any.
        keras_layer: what takes Keras's symbolic tensors in the caller's place, for the message.

    Raises:
        ValueError: if it is none; the message says what was received.

    Example:
        >>> tensor_argument([[1, 2]], "token_ids", "integers", "[batch, length]").shape
        TensorShape([1, 2])
    """
    rule = kind + (f" of shape {shape}" if shape else "")
    tensor = any_tensor(value, name, rule, keras_layer)
    if kind == "integers" and isinstance(value, (list, tuple)) and tensor.shape.num_elements() == 0:
        tensor = tf.cast(tensor, tf.int32)  # TensorFlow takes lists without any number for floats
    if not _KINDS[kind](tensor.dtype) or (shape and tensor.shape.rank not in (None, _rank(shape))):
        raise ValueError(
            f"`{name}` must be {rule}. Received: dtype={tensor.dtype.name}, shape={tensor.shape}."
        )
    return tensor


def _rank(shape: str) -> int:
    return 0 if shape == "[]" else shape.count(",") + 1


def any_tensor(value: Any, name: str, rule: str, keras_layer: str | None = None) -> tf.Tensor:
    """`value` as a dense tensor of whatever type and shape.

    Raises:
        ValueError: if it is none; the message says that `name` must be `rule`, and what was received.

    Example:
        >>> any_tensor([1.5], "inputs", "numbers").shape
        TensorShape([1])
    """
    rule = f"`{name}` must be {rule}."
    if is_symbolic(value):
        advice = (
            f"Use {keras_layer}, the same as a Keras layer"
            if keras_layer
            else "Map it over a tf.data.Dataset"
        )
        raise ValueError(
            f"{rule} Received: a symbolic tensor of Keras (keras.Input, or what a layer returned). {advice}."
        )
    if isinstance(value, (tf.RaggedTensor, tf.SparseTensor)):
        dense = "its to_tensor()" if isinstance(value, tf.RaggedTensor) else "tf.sparse.to_dense"
        raise ValueError(f"{rule} Received: a {type(value).__name__}. Make it dense first, by {dense}.")
    try:
        return tf.convert_to_tensor(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{rule} Received: {described(value)}.") from error


def indices_argument(value: Any, name: str, shape: str | None = None, **more: Any) -> tf.Tensor:
    """Integers of any width, as the int32 or int64 that TensorFlow's lookups take."""
    tensor = tensor_argument(value, name, "integers", shape, **more)
    return tensor if tensor.dtype in (tf.int32, tf.int64) else tf.cast(tensor, tf.int64)


def is_symbolic(value: Any) -> bool:
    """Whether it is a tensor of Keras without values; told by name, as Keras need not be there."""
    return type(value).__name__ == "KerasTensor"


def described(value: Any) -> str:
    """What was received, in a few words: never the whole of it."""
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype}, shape {value.shape}"
    if isinstance(value, tf.SparseTensor | tf.RaggedTensor):
        return f"a {type(value).__name__}"
    if isinstance(value, (list, tuple)) and any(isinstance(row, (list, tuple)) for row in value):
        sizes = {len(row) if isinstance(row, (list, tuple)) else None for row in value}
        if len(sizes) > 1:
            return f"a {type(value).__name__} whose rows differ in length"
    words = repr(value)
    return f"{words[:60]}{'…' if len(words) > 60 else ''} of type {type(value).__name__}"
