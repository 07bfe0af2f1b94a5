"""Layer normalisation of the last axis (Ba et al., https://arxiv.org/abs/1607.06450)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.layers.precision import Precision


class LayerNorm(tf.Module):
    """`(inputs - mean) / sqrt(variance + epsilon) * gamma + beta`, with float32 statistics or better.

    Without a bias there is no beta.

    Shapes:
        inputs and result: float [..., dim]; gamma, beta: [dim].

    Example:
        >>> LayerNorm(2)(tf.constant([[1.0, 3.0]])).numpy().round(2).tolist()
        [[-1.0, 1.0]]
    """

    def __init__(
        self,
        dim: int,
        epsilon: float = 1e-5,
        *,
        use_bias: bool = True,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        self.precision = Precision.of(dtype)
        self.epsilon = epsilon
        variable = self.precision.variable
        self.gamma = tf.Variable(tf.ones([dim], variable), name="gamma", trainable=trainable)
        self.beta = (
            tf.Variable(tf.zeros([dim], variable), name="beta", trainable=trainable) if use_bias else None
        )

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        statistics = self.precision.statistics
        # Two axes: XLA sums the gradients of gamma and beta over one axis several times faster than over two.
        x = tf.cast(tf.reshape(inputs, [-1, self.gamma.shape[0]]), statistics)
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        scale = tf.math.rsqrt(variance + self.epsilon) * tf.cast(self.gamma, statistics)
        outputs = centred * scale
        if self.beta is not None:
            outputs += tf.cast(self.beta, statistics)
        outputs = self.precision.cast(outputs)
        return tf.ensure_shape(tf.reshape(outputs, tf.shape(inputs)), inputs.shape)
