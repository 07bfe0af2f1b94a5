"""The sum of token, position and segment embeddings, normalised, that BERT's encoder starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.dropout import dropout
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding


class BertEmbedding(tf.Module):
    """Ids to vectors (Devlin et al., https://arxiv.org/abs/1810.04805, figure 2).

    DistilBERT and ModernBERT have no segments, ModernBERT's positions are not added here, RoBERTa counts
    them from behind its padding id, and ELECTRA and ALBERT project narrow embeddings to the hidden size.
    ESM takes masks for tokens that were dropped: their vectors are zeros, and those of the others scaled.

    Shapes:
        token_ids, segment_ids, position_ids: int32 [batch, length]; mask: bool [batch, length], true at real
        tokens, of which all are unless it is given → float [batch, length, hidden].

    Example:
        >>> embedding = BertEmbedding(ModelConfig(vocab_size=9, hidden_size=4, num_attention_heads=2))
        >>> embedding(tf.constant([[1, 2, 3]])).shape
        TensorShape([1, 3, 4])
    """

    def __init__(
        self,
        config: ModelConfig,
        initializer: Callable[[], Any] = lambda: "truncated_normal",
        *,
        token: ReversibleEmbedding | None = None,
        name: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        self.precision = Precision.of(dtype)
        self.config = config
        size = config.token_embedding_size
        # Lookups stay in the variables' dtype until their sum, which is then rounded once.
        stored = self.precision.variable
        own = initializer()  # drawn in any case, so that the others' seeds do not depend on it
        self.token = token or ReversibleEmbedding(
            config.vocab_size, size, embeddings_initializer=own, name="token", dtype=self.precision
        )
        self.position = (
            ReversibleEmbedding(
                config.max_position_embeddings,
                size,
                embeddings_initializer=initializer(),
                name="position",
                dtype=stored,
            )
            if config.has_position_table
            else None
        )
        self.segment = (
            ReversibleEmbedding(
                config.type_vocab_size,
                size,
                embeddings_initializer=initializer(),
                name="segment",
                dtype=stored,
            )
            if config.type_vocab_size
            else None
        )
        self.norm = (
            LayerNorm.of(config, size, name="norm", dtype=self.precision) if config.embedding_norm else None
        )
        self.projection = (
            Dense(
                size,
                config.hidden_size,
                kernel_initializer=initializer(),
                name="projection",
                dtype=self.precision,
            )
            if config.projects_embedding
            else None
        )

    def __call__(
        self,
        token_ids: tf.Tensor,
        segment_ids: tf.Tensor | None = None,
        dropout_seed: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
    ) -> tf.Tensor:
        length = tf.shape(token_ids)[1]
        start = self.config.position_offset
        x = self.token.lookup(token_ids)  # [batch, length, size]
        if self.config.dropped_token_id is not None:
            x = self._without_dropped(x, token_ids, mask)
        if self.position is not None:
            if position_ids is None:
                x += self.position.embeddings[start : start + length]
            else:
                x += self.position.lookup(start + position_ids)
        if self.segment is not None:
            if segment_ids is None:
                x += self.segment.embeddings[0]
            else:
                # A product with one-hot rows: the table is tiny, and its gradient needs no scatter.
                # An id beyond the table, which nothing can report under XLA, is clamped as lookups do.
                segments = self.config.type_vocab_size
                one_hot = tf.one_hot(tf.clip_by_value(segment_ids, 0, segments - 1), segments, dtype=x.dtype)
                x += tf.tensordot(one_hot, tf.convert_to_tensor(self.segment.embeddings), 1)
        x = self.precision.cast(x) if self.norm is None else self.norm(x)
        x = dropout(x, self.config.hidden_dropout_prob, dropout_seed)
        return x if self.projection is None else self.projection(x)

    def _without_dropped(self, x: tf.Tensor, token_ids: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Zeros for masks, and the other vectors scaled by the share that is left, as in ESM's training.

        Of the tokens there 15 % were masked, 80 % of them by a mask (Lin et al., Science 379, 2023).
        """
        is_dropped = token_ids == self.config.dropped_token_id
        real = tf.ones_like(is_dropped) if mask is None else mask
        dropped = tf.reduce_sum(tf.cast(is_dropped & real, x.dtype), 1)
        share = tf.math.divide_no_nan(dropped, tf.reduce_sum(tf.cast(real, x.dtype), 1))
        scale = tf.math.divide_no_nan(tf.cast(1 - 0.15 * 0.8, x.dtype), 1 - share)
        return (
            tf.where(is_dropped[..., tf.newaxis], tf.zeros([], x.dtype), x) * scale[:, tf.newaxis, tf.newaxis]
        )
