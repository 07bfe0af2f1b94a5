"""One transformer block in its two halves: attention, and the work at each position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers import activation as activations
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.dropout import dropout, fold_in
from tf_mlm.layers.fourier_mixing import FourierMixing
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.layer_positions import LayerPositions
from tf_mlm.layers.packed import Packed
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.self_attention import SelfAttention


class EncoderBlock(tf.Module):
    """Attention and feed-forward, each with dropout and a residual, and a norm before or behind it.

    The config's switches say what a block is made of, and `layer_types` what the attention of layer `index`
    reaches. `first_norm` is whether a pre-norm block has a norm before the attention of the first layer too,
    whose input may be normalised already. `positions` is what the layers of an encoder share; a block that is
    alone makes its own.

    `attend` mixes positions. `transform` treats each position alone, so the last block of a model
    may run it only where somebody wants the result: it holds three quarters of the arithmetic.

    Shapes:
        x: float [batch, length, hidden]; mask: bool [batch, length] → [batch, length, hidden].

    Example:
        >>> block = EncoderBlock(ModelConfig(hidden_size=8, num_attention_heads=2, intermediate_size=16))
        >>> block(tf.ones([1, 3, 8]), tf.constant([[True, True, False]])).shape
        TensorShape([1, 3, 8])
    """

    def __init__(
        self,
        config: ModelConfig,
        initializer: Callable[[], Any] = lambda: "glorot_uniform",
        index: int = 0,
        positions: LayerPositions | None = None,
        *,
        name: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        self.precision = precision = Precision.of(dtype)
        hidden, inner = config.hidden_size, config.intermediate_size
        self.dropout_rate = config.hidden_dropout_prob
        self.is_pre_norm, self.is_gated = config.norm_position == "pre", config.gated
        positions = positions or LayerPositions(config, initializer, dtype=precision)

        def norm(name: str) -> LayerNorm:
            return LayerNorm.of(config, hidden, name=name, dtype=precision)

        def dense(inputs: int, units: int, name: str, use_bias: bool, activation: str | None = None) -> Dense:
            return Dense(
                inputs, units, activation, initializer(), use_bias=use_bias, name=name, dtype=precision
            )

        self.attention = _attention(config, initializer, index, positions, precision)
        self.attention_output = (
            dense(hidden, hidden, "attention_output", config.attention_bias)
            if config.mixing == "attention"
            else None
        )
        self.attention_norm = (
            norm("attention_norm") if index or config.first_norm or not self.is_pre_norm else None
        )
        self.intermediate = (
            dense(hidden, 2 * inner, "intermediate", config.mlp_bias)
            if self.is_gated
            else dense(hidden, inner, "intermediate", config.mlp_bias, config.hidden_act)
        )
        self.activation = activations.get(config.hidden_act)
        self.output = dense(inner, hidden, "output", config.mlp_bias)
        self.output_norm = norm("output_norm")

    def __call__(
        self,
        x: tf.Tensor,
        mask: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
        packed: Packed | None = None,
    ) -> tf.Tensor:
        x = self.precision.cast(x)
        return self.transform(self.attend(x, mask, dropout_seed, packed), x, dropout_seed)

    def attend(
        self,
        x: tf.Tensor,
        mask: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
        packed: Packed | None = None,
    ) -> tf.Tensor:
        """What each position reads from the others: [batch, length, hidden]."""
        if self.is_pre_norm and self.attention_norm is not None:
            x = self.attention_norm(x)
        return self.attention(x, mask, fold_in(dropout_seed, 0), packed)

    def transform(self, context: tf.Tensor, x: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """What `attend` returned and the block's input, at the same positions: [..., hidden] both."""
        if self.attention_output is not None:
            context = dropout(self.attention_output(context), self.dropout_rate, fold_in(dropout_seed, 1))
        x += context
        if self.is_pre_norm:
            return x + self._transformed(self.output_norm(x), dropout_seed)
        assert self.attention_norm is not None
        x = self.attention_norm(x)
        return self.output_norm(x + self._transformed(x, dropout_seed))

    def _transformed(self, x: tf.Tensor, dropout_seed: tf.Tensor | None) -> tf.Tensor:
        inner = self.intermediate(x)
        if self.is_gated:
            values, gates = tf.split(inner, 2, axis=-1)
            inner = activations.activated(self.activation, values) * gates
        return dropout(self.output(inner), self.dropout_rate, fold_in(dropout_seed, 2))


def _attention(
    config: ModelConfig,
    initializer: Callable[[], Any],
    index: int,
    positions: LayerPositions,
    precision: Precision,
) -> SelfAttention | FourierMixing:
    """What mixes the positions in layer `index`."""
    if config.mixing != "attention":
        return FourierMixing(config.hidden_size, name="attention", dtype=precision)
    is_local = config.is_local(index)
    return SelfAttention(
        config.hidden_size,
        config.num_attention_heads,
        config.attention_probs_dropout_prob,
        initializer(),
        use_bias=config.attention_bias,
        rotation=positions.local_rotary if is_local else positions.rotary,
        rotates_values=config.rope_values,
        bias=positions.bias_of_layer(config, initializer, precision),
        window=config.local_attention // 2 if is_local else None,
        longest=config.max_length,
        name="attention",
        dtype=precision,
    )
