"""Normalisation of the last axis: layer norms, and those that divide by the root mean square alone."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers.precision import Precision


class LayerNorm(tf.Module):
    """`(inputs - mean) / sqrt(variance + epsilon) * gamma + beta`, with float32 statistics or better.

    Without a bias there is no beta. One that is not `centred` takes no mean away, here and in the variance:
    `inputs / sqrt(mean(inputs²) + epsilon) * gamma`.

    Shapes:
        inputs and result: float [..., dim]; gamma, beta: [dim].

    Example:
        >>> LayerNorm(2)(tf.constant([[1.0, 3.0]])).numpy().round(2).tolist()
        [[-1.0, 1.0]]

    References:
        Ba et al., https://arxiv.org/abs/1607.06450; Zhang and Sennrich, https://arxiv.org/abs/1910.07467.
    """

    def __init__(
        self,
        dim: int,
        epsilon: float = 1e-5,
        *,
        use_bias: bool = True,
        centred: bool = True,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        self.precision = Precision.of(dtype)
        self.epsilon, self.centred = epsilon, centred
        variable = self.precision.variable
        self.gamma = tf.Variable(tf.ones([dim], variable), name="gamma", trainable=trainable)
        self.beta = (
            tf.Variable(tf.zeros([dim], variable), name="beta", trainable=trainable) if use_bias else None
        )

    @classmethod
    def of(cls, config: ModelConfig, dim: int, *, name: str, dtype: Any) -> LayerNorm:
        """The norm that an encoder of this config has."""
        return cls(
            dim,
            config.layer_norm_eps,
            use_bias=config.norm_bias,
            centred=config.norm == "layer",
            name=name,
            dtype=dtype,
        )

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        statistics = self.precision.statistics
        # Two axes: XLA sums the gradients of gamma and beta over one axis several times faster than over two.
        x = tf.cast(tf.reshape(inputs, [-1, self.gamma.shape[0]]), statistics)
        if self.centred:
            x -= tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
        scale = tf.math.rsqrt(variance + self.epsilon) * tf.cast(self.gamma, statistics)
        outputs = x * scale
        if self.beta is not None:
            outputs += tf.cast(self.beta, statistics)
        outputs = self.precision.cast(outputs)
        return tf.ensure_shape(tf.reshape(outputs, tf.shape(inputs)), inputs.shape)
