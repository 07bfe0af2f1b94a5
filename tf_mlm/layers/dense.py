"""A linear map of the last axis, with or without a bias, and an activation."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.layers import activation as activations
from tf_mlm.layers import initializer as initializers
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.product import times_kernel


class Dense(tf.Module):
    """`activation(inputs @ kernel.T + bias)`.

    The kernel is stored as Hugging Face and torch store it, an output after the other, which is also what a
    CPU multiplies fastest (`tf_mlm.layers.product`).

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
        use_bias: bool = True,
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
        self.bias = (
            tf.Variable(bias_initializer([output_dim], variable), name="bias", trainable=trainable)
            if use_bias
            else None
        )

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        # Two axes, so that TensorFlow runs one matrix product and not a batch of small ones.
        inputs = self.precision.cast(inputs)
        rows = tf.reshape(inputs, [-1, self.input_dim])
        bias = None if self.bias is None else self.precision.cast(self.bias)
        rows = times_kernel(rows, self.kernel, bias)
        rows = activations.activated(self.activation, rows)
        outputs = tf.reshape(rows, tf.concat([tf.shape(inputs)[:-1], [self.output_dim]], 0))
        outputs.set_shape(inputs.shape[:-1].concatenate(self.output_dim))
        return outputs
