"""A convolution over neighbouring positions."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers import activation as activations
from tf_mlm.layers.dropout import dropout
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.precision import Precision


class Convolution(tf.Module):
    """What the first layer made of a text, and a convolution of what it was given, normalised.

    Beyond the ends of a text there are zeros.

    Shapes:
        given, made: float [batch, length, hidden]; mask: bool [batch, length] → [batch, length, hidden].

    References:
        DeBERTa V2, https://github.com/microsoft/DeBERTa.
    """

    def __init__(
        self, config: ModelConfig, initializer: Any, *, name: str | None = None, dtype: Any = "float32"
    ) -> None:
        super().__init__(name=name)
        self.precision = Precision.of(dtype)
        hidden, variable = config.hidden_size, self.precision.variable
        self.width = config.conv_kernel_size
        # As torch stores it: outputs, inputs, places.
        self.kernel = tf.Variable(initializer([hidden, hidden, self.width], variable), name="kernel")
        self.bias = tf.Variable(tf.zeros([hidden], variable), name="bias")
        self.activation = activations.get(config.conv_act)
        self.norm = LayerNorm(hidden, config.layer_norm_eps, name="norm", dtype=self.precision)
        self.dropout_rate = config.hidden_dropout_prob

    def __call__(
        self, given: tf.Tensor, made: tf.Tensor, mask: tf.Tensor, dropout_seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        real = self.precision.cast(mask)[:, :, tf.newaxis]
        x = self.precision.cast(given) * real
        reach, length = self.width // 2, tf.shape(x)[1]
        padded = tf.pad(x, [[0, 0], [reach, reach], [0, 0]])
        kernel = self.precision.cast(self.kernel)
        sums = self.precision.cast(self.bias)
        for place in range(self.width):
            here = padded[:, place : place + length]
            sums = sums + tf.tensordot(here, tf.transpose(kernel[:, :, place]), 1)
        out = activations.activated(self.activation, dropout(sums * real, self.dropout_rate, dropout_seed))
        return self.norm(made + out)
