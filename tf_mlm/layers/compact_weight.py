"""A weight that is stored smaller than the floats it stands for, and how such weights are multiplied."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import tensorflow as tf


class CompactWeight(tf.Module):
    """Stands where a float `tf.Variable` stood: in casts, products and lookups.

    Only what is stored are variables, so only that is saved. What is read is a float copy, made once when the
    weight is: converting in every call costs more than reading floats saves. Each kind has `times`, which
    multiplies rows [count, inputs] by what is stored, to [count, outputs] in the rows' dtype; it is called
    where `multiplied` asks for that.

    Attributes:
        arithmetic: the word by which `multiplied` asks for that.
        shape: [rows, columns].
        dtype: of the floats.
        channel_axis: the axis of the outputs.
    """

    arithmetic: ClassVar[str]
    shape: tf.TensorShape
    dtype: tf.DType
    channel_axis: int

    def _stand_for(
        self,
        weight: tf.Tensor,
        channel_axis: int,
        stored: tuple[tf.Variable, ...],
        floats: Callable[..., tf.Tensor],
    ) -> None:
        """The floats, from what is stored; called last of all when the weight is made."""
        self.shape, self.dtype, self.channel_axis = weight.shape, weight.dtype, channel_axis
        self._floats = _Floats(weight.shape, weight.dtype, stored, floats)

    def read(self) -> tf.Tensor:
        """All of it, as floats."""
        return tf.ensure_shape(
            tf.raw_ops.ReadVariableOp(resource=self._floats.resource_handle, dtype=self.dtype), self.shape
        )

    def __getitem__(self, key: Any) -> tf.Tensor:
        return self.read()[key]


_PRODUCTS = contextvars.ContextVar("products", default="float")


@contextlib.contextmanager
def multiplied(how: str) -> Iterator[None]:
    """Says how compact weights are multiplied in what is traced or run here.

    Args:
        how: `"float"`, as the floats they stand for; `"xla"`, the same in what XLA will compile, which
            TensorFlow does not tell; `"int8"`, `"bfloat16"` or the `arithmetic` of another kind, weights of
            that kind as they are stored.
    """
    token = _PRODUCTS.set(how)
    try:
        yield
    finally:
        _PRODUCTS.reset(token)


def is_under_xla() -> bool:
    """Whether `multiplied` said that XLA will compile this."""
    return _PRODUCTS.get() == "xla"


def is_multiplied_in_integers() -> bool:
    """Whether `multiplied` said that int8 weights are multiplied as they are stored."""
    return _PRODUCTS.get() == "int8"


def is_multiplied_as_stored(weight: Any) -> bool:
    """Whether `times` is there for this weight and asked for."""
    return isinstance(weight, CompactWeight) and _PRODUCTS.get() == weight.arithmetic


class _Floats(tf.saved_model.experimental.TrackableResource):
    """A variable that is computed when a program loads, and never saved."""

    def __init__(
        self,
        shape: tf.TensorShape,
        dtype: tf.DType,
        stored: tuple[tf.Variable, ...],
        floats: Callable[..., tf.Tensor],
    ) -> None:
        super().__init__()
        self._shape, self._dtype, self._stored, self._make = shape, dtype, stored, floats
        self._number = next(_COUNT)
        self._initialize()

    def _create_resource(self) -> tf.Tensor:
        # In a graph the operation runs with every call, and its name says which variable is meant. Loading
        # a SavedModel adds to the name, so that what two loads compute is kept apart.
        name = _ANONYMOUS if tf.executing_eagerly() else f"weight_floats_{self._number}"
        return tf.raw_ops.VarHandleOp(dtype=self._dtype, shape=self._shape, shared_name=name)

    def _initialize(self) -> None:
        floats = tf.cast(self._make(*self._stored), self._dtype)
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=floats)

    def _destroy_resource(self) -> None:
        tf.raw_ops.DestroyResourceOp(resource=self.resource_handle)


_COUNT = itertools.count()
# TensorFlow's word for "a new resource each time" (ResourceHandle::ANONYMOUS_NAME).
_ANONYMOUS = "cd2c89b7-88b7-44c8-ad83-06c2a9158347"


def _as_tensor(
    weight: CompactWeight, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    floats = weight.read()
    return floats if dtype is None else tf.cast(floats, dtype)


tf.register_tensor_conversion_function(CompactWeight, _as_tensor)
