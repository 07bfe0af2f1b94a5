"""A weight kept as int8 with one scale per channel, and read as a float."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.layers.compact_weight import CompactWeight, is_under_xla
from tf_mlm.layers.int8_product import LEVELS, times_int8

Rounding = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Floats [rows, columns] and the axis of the outputs → int8 values of that shape and float32 scales."""


class Int8Weight(CompactWeight):
    """A matrix of a quarter of the bytes.

    One product of the floats reads the int8 values too: that of a single row under XLA (`times_row`).

    Shapes:
        weight: [rows, columns]; values: int8 of that shape; scale: [rows, 1] or [1, columns]; sums: of each
        channel, float32 [rows] or [columns].

    Args:
        weight: the floats, a matrix.
        channel_axis: the axis of the outputs; every index of it gets a scale of its own.
        rounding: which int8 values and scales stand for the floats; `rounded` unless given.
        rounds_twice: whether `times` rounds rows in two steps, for products of few rows.
        name: name of the module.

    Example:
        >>> weight = Int8Weight(tf.constant([[1.0, -4.0], [0.5, 2.0]]), channel_axis=1)
        >>> weight.values.numpy().tolist(), tf.convert_to_tensor(weight).shape
        ([[127, -127], [64, 64]], TensorShape([2, 2]))
    """

    arithmetic = "int8"

    def __init__(
        self,
        weight: Any,
        channel_axis: int,
        *,
        rounding: Rounding | None = None,
        rounds_twice: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or "int8_weight")
        self.rounds_twice = rounds_twice
        weight = tf.convert_to_tensor(weight)
        values, scale = (rounding or rounded)(weight.numpy().astype(np.float32), channel_axis)
        self.values = tf.Variable(values, name="values", trainable=False)
        self.scale = tf.Variable(scale, name="scale", trainable=False)
        sums = values.sum(1 - channel_axis, dtype=np.int64) * scale.reshape(-1)
        self.sums = tf.Variable(sums.astype(np.float32), name="sums", trainable=False)
        self._stand_for(weight, channel_axis, (self.values, self.scale), _floats)

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
            twice=self.rounds_twice,
        )
        return tf.cast(product, rows.dtype)


def reads_int8(weight: Any) -> bool:
    """Whether `times_row` is there for this weight and fast where it is traced."""
    return isinstance(weight, Int8Weight) and is_under_xla()


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


def _floats(values: tf.Variable, scale: tf.Variable) -> tf.Tensor:
    return tf.cast(values, tf.float32) * scale
