"""One post-norm transformer block, in its two halves: attention, and the work at each position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.dropout import dropout, fold_in
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.self_attention import SelfAttention


class EncoderBlock(tf.Module):
    """Attention and feed-forward, each with dropout, a residual and a norm behind it.

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
        *,
        name: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        precision = Precision.of(dtype)
        hidden, inner = config.hidden_size, config.intermediate_size
        self.dropout_rate = config.hidden_dropout_prob
        self.attention = SelfAttention(
            hidden,
            config.num_attention_heads,
            config.attention_probs_dropout_prob,
            initializer(),
            name="attention",
            dtype=precision,
        )
        self.attention_output = Dense(
            hidden, hidden, kernel_initializer=initializer(), name="attention_output", dtype=precision
        )
        self.attention_norm = LayerNorm(hidden, config.layer_norm_eps, name="attention_norm", dtype=precision)
        self.intermediate = Dense(
            hidden, inner, config.hidden_act, initializer(), name="intermediate", dtype=precision
        )
        self.output = Dense(inner, hidden, kernel_initializer=initializer(), name="output", dtype=precision)
        self.output_norm = LayerNorm(hidden, config.layer_norm_eps, name="output_norm", dtype=precision)

    def __call__(self, x: tf.Tensor, mask: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        x = self.attention.precision.cast(x)
        return self.transform(self.attend(x, mask, dropout_seed), x, dropout_seed)

    def attend(self, x: tf.Tensor, mask: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """What each position reads from the others: [batch, length, hidden]."""
        return self.attention(x, mask, fold_in(dropout_seed, 0))

    def transform(self, context: tf.Tensor, x: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """What `attend` returned and the block's input, at the same positions: [..., hidden] both."""
        attended = dropout(self.attention_output(context), self.dropout_rate, fold_in(dropout_seed, 1))
        x = self.attention_norm(x + attended)
        transformed = self.output(self.intermediate(x))
        return self.output_norm(x + dropout(transformed, self.dropout_rate, fold_in(dropout_seed, 2)))
