"""A weight kept as int8 with one scale per channel, and read as a float."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.layers.int8_product import LEVELS, times_int8


class Int8Weight(tf.Module):
    """Stands where a float `tf.Variable` stood: in casts, products and lookups.

    Only the int8 values, their scales and sums are variables, so only they are saved. What is read is a float
    copy, made once when the weight is: converting in every call costs more than reading floats saves. The
    exceptions are a single row under XLA, whose product reads the int8 values (`times_row`), and products in
    integers (`times`), where `multiplied` asks for them.

    Shapes:
        weight: [rows, columns]; values: int8 of that shape; scale: [rows, 1] or [1, columns]; sums: of the
        values of each channel, float32 [rows] or [columns].

    Args:
        weight: the floats, a matrix.
        channel_axis: the axis of the outputs; every index of it gets a scale of its own.
        name: name of the module.

    Example:
        >>> weight = Int8Weight(tf.constant([[1.0, -4.0], [0.5, 2.0]]), channel_axis=1)
        >>> weight.values.numpy().tolist(), tf.convert_to_tensor(weight).shape
        ([[127, -127], [64, 64]], TensorShape([2, 2]))
    """

    def __init__(self, weight: Any, channel_axis: int, *, name: str | None = None) -> None:
        super().__init__(name=name or "int8_weight")
        weight = tf.convert_to_tensor(weight)
        values, scale = rounded(weight.numpy().astype(np.float32), channel_axis)
        self.values = tf.Variable(values, name="values", trainable=False)
        self.scale = tf.Variable(scale, name="scale", trainable=False)
        sums = values.sum(1 - channel_axis, dtype=np.int64)
        self.sums = tf.Variable(sums.astype(np.float32), name="sums", trainable=False)
        self.shape, self.dtype, self.channel_axis = weight.shape, weight.dtype, channel_axis
        self._floats = _Floats(self)

    def read(self) -> tf.Tensor:
        """All of it, as floats."""
        return tf.ensure_shape(
            tf.raw_ops.ReadVariableOp(resource=self._floats.resource_handle, dtype=self.dtype), self.shape
        )

    def sparse_read(self, indices: Any, name: str | None = None) -> tf.Tensor:
        """Rows of it: what `tf.gather` calls on a variable, so that a lookup does not read the table."""
        indices = tf.convert_to_tensor(indices)
        rows = tf.raw_ops.ResourceGather(
            resource=self._floats.resource_handle, indices=indices, dtype=self.dtype, name=name
        )
        return tf.ensure_shape(rows, indices.shape.concatenate(self.shape[1:]))

    def __getitem__(self, key: Any) -> tf.Tensor:
        return self.read()[key]

    def times_row(self, row: tf.Tensor) -> tf.Tensor:
        """`weight @ row.T` for a row [1, columns]: [rows, 1], a third of the time of floats under XLA."""
        product = tf.matmul(tf.cast(self.values, tf.float32), tf.cast(row, tf.float32), transpose_b=True)
        return tf.cast(product * self.scale, row.dtype)

    def times(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows [count, inputs], rounded to int8 one by one, times this weight: [count, outputs]."""
        product = times_int8(
            tf.cast(rows, tf.float32),
            tf.convert_to_tensor(self.values),
            tf.reshape(self.scale, [-1]),
            tf.convert_to_tensor(self.sums),
            transposed=self.channel_axis == 0,
        )
        return tf.cast(product, rows.dtype)


_PRODUCTS = contextvars.ContextVar("products", default="float")


@contextlib.contextmanager
def multiplied(how: str) -> Iterator[None]:
    """Says how int8 weights are multiplied in what is traced or run here.

    Args:
        how: `"float"`, as the floats they stand for; `"xla"`, the same in what XLA will compile, which
            TensorFlow does not tell; `"int8"`, in integers.
    """
    token = _PRODUCTS.set(how)
    try:
        yield
    finally:
        _PRODUCTS.reset(token)


def reads_int8(weight: Any) -> bool:
    """Whether `times_row` is there for this weight and fast where it is traced."""
    return isinstance(weight, Int8Weight) and _PRODUCTS.get() == "xla"


def multiplies_in_int8(weight: Any) -> bool:
    """Whether `times` is there for this weight and asked for."""
    return isinstance(weight, Int8Weight) and _PRODUCTS.get() == "int8"


def rounded(weight: np.ndarray, channel_axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The int8 values nearest to a matrix, and the scale per channel that makes its largest one 127.

    Example:
        >>> values, scale = rounded(np.array([[0.0, 0.0]], np.float32), 0)
        >>> values.tolist(), scale.tolist()
        ([[0, 0]], [[1.0]])
    """
    largest = np.abs(weight).max(axis=1 - channel_axis, keepdims=True)
    scale = np.where(largest > 0, largest / LEVELS, np.float32(1)).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


class _Floats(tf.saved_model.experimental.TrackableResource):
    """A variable that is computed when a program loads, and never saved."""

    def __init__(self, weight: Int8Weight) -> None:
        super().__init__()
        self._values, self._scale = weight.values, weight.scale
        self._dtype, self._number = weight.dtype, next(_COUNT)
        self._initialize()

    def _create_resource(self) -> tf.Tensor:
        # In a graph the operation runs with every call, and its name says which variable is meant. Loading
        # a SavedModel adds to the name, so that what two loads compute is kept apart.
        name = _ANONYMOUS if tf.executing_eagerly() else f"int8_weight_floats_{self._number}"
        return tf.raw_ops.VarHandleOp(dtype=self._dtype, shape=self._values.shape, shared_name=name)

    def _initialize(self) -> None:
        floats = tf.cast(tf.cast(self._values, tf.float32) * self._scale, self._dtype)
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=floats)

    def _destroy_resource(self) -> None:
        tf.raw_ops.DestroyResourceOp(resource=self.resource_handle)


_COUNT = itertools.count()
# TensorFlow's word for "a new resource each time" (ResourceHandle::ANONYMOUS_NAME).
_ANONYMOUS = "cd2c89b7-88b7-44c8-ad83-06c2a9158347"


def _as_tensor(weight: Int8Weight, dtype: Any = None, name: str | None = None, as_ref: bool = False) -> Any:
    floats = weight.read()
    return floats if dtype is None else tf.cast(floats, dtype)


tf.register_tensor_conversion_function(Int8Weight, _as_tensor)
