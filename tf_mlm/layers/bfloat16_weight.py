"""A weight kept as bfloat16, and multiplied so.

TensorFlow gives products of bfloat16 to oneDNN on x86, which takes one instruction for them where the
processor has one (`tf_mlm.export.processor`). Sums are made in float32 and come back as bfloat16.

References:
    Kalamkar et al., https://arxiv.org/abs/1905.12322 (bfloat16: the range of float32, 8 bits of it exact).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.layers.compact_weight import CompactWeight


class Bfloat16Weight(CompactWeight):
    """A matrix of half the bytes, each number the nearest bfloat16.

    Shapes:
        weight: [rows, columns]; values: bfloat16 of that shape.

    Args:
        weight: the floats, a matrix.
        channel_axis: the axis of the outputs.
        name: name of the module.

    Example:
        >>> weight = Bfloat16Weight(tf.constant([[1.0, 2.0], [3.0, 257.0]]), channel_axis=0)
        >>> weight.read().numpy().tolist(), weight.times(tf.constant([[1.0, 1.0]])).numpy().tolist()
        ([[1.0, 2.0], [3.0, 256.0]], [[3.0, 260.0]])
    """

    arithmetic = "bfloat16"

    def __init__(self, weight: Any, channel_axis: int, *, name: str | None = None) -> None:
        super().__init__(name=name or "bfloat16_weight")
        weight = tf.convert_to_tensor(weight)
        self.values = tf.Variable(tf.cast(weight, tf.bfloat16), name="values", trainable=False)
        self._stand_for(weight, channel_axis, (self.values,), tf.convert_to_tensor)

    def times(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows [count, inputs], rounded to bfloat16, times this weight: [count, outputs]."""
        # The rows on the left, whatever their number: the other order takes 1.0 to 1.4 times as long.
        product = tf.matmul(tf.cast(rows, tf.bfloat16), self.values, transpose_b=self.channel_axis == 0)
        return tf.cast(product, rows.dtype)
