"""A BERT encoder: token ids to hidden states."""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers.bert_embedding import BertEmbedding
from tf_mlm.layers.dropout import fold_in
from tf_mlm.layers.encoder_block import EncoderBlock
from tf_mlm.layers.masked_lm_head import gather_positions
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.self_attention import length_mask


class BertEncoder(tf.Module):
    """The encoder of BERT, DistilBERT, ELECTRA or RoBERTa, as `config.model_type` says.

    Takes lengths, not a padding mask: whatever stands behind a text's length never changes its result.

    Shapes:
        token_ids, segment_ids: int32 [batch, length]; lengths: int32 [batch].
        result: float [batch, length, hidden]; with `positions` int32 [batch, masks], only those:
            [batch, masks, hidden].

    Args:
        config: sizes, activation, rates.
        dtype: `float32`, `bfloat16` or `mixed_bfloat16`.
        seed: makes the initial weights reproducible.
        name: name of the module.

    Raises:
        ValueError: at the call, for shapes that do not fit or a length beyond the position table.

    Example:
        >>> config = ModelConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> encoder = BertEncoder(config)
        >>> encoder(tf.constant([[2, 5, 3, 0]]), lengths=tf.constant([3])).shape
        TensorShape([1, 4, 8])

    References:
        Devlin et al., https://arxiv.org/abs/1810.04805.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or "encoder")
        self.config = config
        self.precision = Precision.of(dtype)
        seeds = itertools.count(seed) if seed is not None else itertools.repeat(None)

        def initializer() -> Any:
            return tf.keras.initializers.TruncatedNormal(stddev=config.initializer_range, seed=next(seeds))

        self.embedding = BertEmbedding(config, initializer, name="embedding", dtype=self.precision)
        self.blocks = [
            EncoderBlock(config, initializer, name=f"block_{index}", dtype=self.precision)
            for index in range(config.num_hidden_layers)
        ]

    def __call__(
        self,
        token_ids: Any,
        lengths: Any,
        segment_ids: Any = None,
        *,
        positions: Any = None,
        dropout_seed: Any = None,
    ) -> tf.Tensor:
        context, x = self.attend(token_ids, lengths, segment_ids, dropout_seed=dropout_seed)
        if positions is not None:
            context, x = gather_positions(context, positions), gather_positions(x, positions)
        return self.transform(context, x, dropout_seed=dropout_seed)

    def attend(
        self, token_ids: Any, lengths: Any, segment_ids: Any = None, *, dropout_seed: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """All that mixes positions: everything but the position-wise half of the last block.

        Returns:
            The two arguments of `transform`, each [batch, length, hidden]. Gather the positions of
            interest from both before `transform`, and it does no work on the others.
        """
        token_ids, lengths, segment_ids = self._check(token_ids, lengths, segment_ids)
        mask = length_mask(lengths, tf.shape(token_ids)[1])
        x = self.embedding(token_ids, segment_ids, fold_in(dropout_seed, len(self.blocks)))
        for index, block in enumerate(self.blocks[:-1]):
            x = block(x, mask, fold_in(dropout_seed, index))
        return self.blocks[-1].attend(x, mask, fold_in(dropout_seed, len(self.blocks) - 1)), x

    def transform(self, context: tf.Tensor, x: tf.Tensor, *, dropout_seed: Any = None) -> tf.Tensor:
        """The position-wise half of the last block: [..., hidden] → [..., hidden]."""
        return self.blocks[-1].transform(context, x, fold_in(dropout_seed, len(self.blocks) - 1))

    def _check(
        self, token_ids: Any, lengths: Any, segment_ids: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        token_ids, lengths = tf.convert_to_tensor(token_ids), tf.convert_to_tensor(lengths)
        if token_ids.shape.rank not in (None, 2) or lengths.shape.rank not in (None, 1):
            raise ValueError(
                "`token_ids` must be [batch, length] and `lengths` [batch]. "
                f"Received: token_ids.shape={token_ids.shape}, lengths.shape={lengths.shape}."
            )
        if not token_ids.shape[:1].is_compatible_with(lengths.shape):
            raise ValueError(
                "`token_ids` and `lengths` must have the same batch size. "
                f"Received: token_ids.shape={token_ids.shape}, lengths.shape={lengths.shape}."
            )
        length = token_ids.shape[1]
        if length is not None and length > self.config.max_length:
            raise ValueError(
                f"The model has positions for {self.config.max_length} tokens. Received: length={length}. "
                "Truncate the input, or load a model with more `max_position_embeddings`."
            )
        if segment_ids is not None:
            segment_ids = tf.convert_to_tensor(segment_ids)
            if not segment_ids.shape.is_compatible_with(token_ids.shape):
                raise ValueError(
                    "`segment_ids` must have the shape of `token_ids`. Received: "
                    f"segment_ids.shape={segment_ids.shape}, token_ids.shape={token_ids.shape}."
                )
        return token_ids, lengths, segment_ids
