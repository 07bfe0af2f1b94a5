"""A linear map of the last axis, with bias and activation."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.layers import activation as activations
from tf_mlm.layers import initializer as initializers
from tf_mlm.layers.precision import Precision

FEW_ROWS = 256
"""Up to so many rows a CPU multiplies faster with the kernel on the left, above it with the rows there."""


class Dense(tf.Module):
    """`activation(inputs @ kernel.T + bias)`.

    The kernel is stored as Hugging Face and torch store it, an output after the other: for few rows a
    CPU multiplies up to twice as fast that way, for many it makes little difference (docs/performance.md).

    Shapes:
        inputs: float [..., input_dim]; kernel: [output_dim, input_dim]; result: [..., output_dim].

    Example:
        >>> Dense(3, 5)(tf.ones([2, 4, 3])).shape
        TensorShape([2, 4, 5])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        activation: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        self.precision = Precision.of(dtype)
        self.activation = activations.get(activation)
        self.input_dim, self.output_dim = input_dim, output_dim
        kernel_initializer = initializers.get(kernel_initializer)
        bias_initializer = initializers.get(bias_initializer)
        variable = self.precision.variable
        # Initializers count inputs along the first axis of a matrix.
        kernel = tf.transpose(kernel_initializer([input_dim, output_dim], variable))
        self.kernel = tf.Variable(kernel, name="kernel", trainable=trainable)
        self.bias = tf.Variable(bias_initializer([output_dim], variable), name="bias", trainable=trainable)

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        # Two axes, so that TensorFlow runs one matrix product and not a batch of small ones.
        inputs = self.precision.cast(inputs)
        rows = tf.reshape(inputs, [-1, self.input_dim])
        kernel, bias = self.precision.cast(self.kernel), self.precision.cast(self.bias)

        def few() -> tf.Tensor:
            # The bias comes first, or XLA would cancel the transposition and be left with the slow order.
            return tf.transpose(tf.matmul(kernel, rows, transpose_b=True) + bias[:, tf.newaxis])

        def many() -> tf.Tensor:
            return tf.matmul(rows, kernel, transpose_b=True) + bias

        count = rows.shape[0]
        if count is None:
            rows = tf.cond(tf.shape(rows)[0] <= FEW_ROWS, few, many)
        else:
            rows = few() if count <= FEW_ROWS else many()
        rows = activations.activated(self.activation, rows)
        outputs = tf.reshape(rows, tf.concat([tf.shape(inputs)[:-1], [self.output_dim]], 0))
        outputs.set_shape(inputs.shape[:-1].concatenate(self.output_dim))
        return outputs
