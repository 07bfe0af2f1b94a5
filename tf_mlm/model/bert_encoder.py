"""A BERT encoder: token ids to hidden states."""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow as tf

from tf_mlm.arguments import indices_argument
from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.layers import initializer as initializers
from tf_mlm.layers.bert_embedding import BertEmbedding
from tf_mlm.layers.convolution import Convolution
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.dropout import fold_in
from tf_mlm.layers.encoder_block import EncoderBlock
from tf_mlm.layers.initializer import truncated_normal
from tf_mlm.layers.keras_tracking import warn_if_untracked
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.layer_positions import LayerPositions
from tf_mlm.layers.packed import Packed
from tf_mlm.layers.positions import check_positions, gather_positions, positions_argument, zero_unused
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.recompute import recomputed
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding
from tf_mlm.layers.self_attention import length_mask
from tf_mlm.model.inputs import ModelInputs, dense_ids
from tf_mlm.model.rules import checked, in_range


class BertEncoder(tf.Module):
    """The encoder of BERT and of the families that came after it, as the config's switches say.

    An `Encoder`, and a `SplitEncoder`. It takes lengths, not a padding mask: whatever stands behind a text's
    length never changes its result. Without lengths, a row of ids ends behind its last id that is not
    `config.pad_token_id`.

    Shapes:
        token_ids, segment_ids: integers [batch, length], or ragged [batch, (length)]; lengths: integers
            [batch]. Or in place of `token_ids` what a `TextPreprocessor` or a mask generator returned.
        position_ids: integers [batch, length], where rows hold several documents end to end: the place of
            each token in its own document, from 0. Documents do not see each other, so that each gets the
            states that it has alone.
        result: float [batch, length, hidden]; with `positions` integers [batch, masks], only those:
            [batch, masks, hidden], zeros at unused slots (-1).

    Args:
        config: sizes, activation, rates.
        dtype: `float32`, `bfloat16` or `mixed_bfloat16`.
        seed: makes the initial weights reproducible.
        token_embedding: the table of tokens, where it exists already; of the config's sizes.
        name: name of the module.

    Attributes:
        recompute: whether the backward pass computes each layer once more instead of keeping what is inside
            it; the gradients are the same, but for the order of sums that XLA chooses.

    Raises:
        ValueError: at the call, for shapes that do not fit or a length beyond the position table.
        tf.errors.InvalidArgumentError: for ids, segments, lengths or positions out of range, eagerly and
            in graphs on CPU. XLA has no such check and clamps them.

    Example:
        >>> config = ModelConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> encoder = BertEncoder(config)
        >>> encoder(tf.constant([[2, 5, 3, 0]]), lengths=tf.constant([3])).shape
        TensorShape([1, 4, 8])

    References:
        Devlin et al., https://arxiv.org/abs/1810.04805 (BERT); Warner et al.,
        https://arxiv.org/abs/2412.13663 (ModernBERT); Lan et al., https://arxiv.org/abs/1909.11942 (ALBERT);
        Lin et al., https://doi.org/10.1126/science.ade2574 (ESM-2); Song et al.,
        https://arxiv.org/abs/2004.09297 (MPNet); Su et al., https://arxiv.org/abs/2104.09864 (RoFormer);
        Lee-Thorp et al., https://arxiv.org/abs/2105.03824 (FNet); He et al.,
        https://arxiv.org/abs/2006.03654 (DeBERTa).
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
        token_embedding: ReversibleEmbedding | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or "encoder")
        if token_embedding is not None:
            sizes = token_embedding.input_dim, token_embedding.output_dim
            if sizes != (config.vocab_size, config.token_embedding_size):
                raise ValueError(
                    "`token_embedding` must have the sizes that the config states, "
                    f"({config.vocab_size}, {config.token_embedding_size}). Received: {sizes}."
                )
        self.config = config
        self.recompute = False
        self.precision = Precision.of(dtype)
        seeds = itertools.count(seed) if seed is not None else itertools.repeat(None)

        def initializer() -> Any:
            return truncated_normal(config.initializer_range, next(seeds))

        self.embedding = BertEmbedding(
            config, initializer, token=token_embedding, name="embedding", dtype=self.precision
        )
        self.positions = LayerPositions(config, initializer, name="positions", dtype=self.precision)
        self.blocks = [
            EncoderBlock(
                config, initializer, index, self.positions, name=f"block_{index}", dtype=self.precision
            )
            for index in range(config.num_blocks)
        ]
        self.final_norm = (
            LayerNorm.of(config, config.hidden_size, name="final_norm", dtype=self.precision)
            if config.norm_position == "pre"
            else None
        )
        self.convolution = (
            Convolution(config, initializers.get(initializer()), name="convolution", dtype=self.precision)
            if config.conv_kernel_size
            else None
        )
        kept = {
            "contacts": (config.num_hidden_layers * config.num_attention_heads, 1),
            "pooler": (config.hidden_size, config.hidden_size),
        }
        self.kept_head = (
            Dense(
                *kept[config.kept_head],
                kernel_initializer=initializer(),
                name="kept_head",
                trainable=False,
                dtype=self.precision,
            )
            if config.kept_head is not None
            else None
        )

    @property
    def layers(self) -> list[EncoderBlock]:
        """The blocks in the order in which they run; a block that layers share stands there for each."""
        return [self.blocks[self.config.block_of(layer)] for layer in range(self.config.num_hidden_layers)]

    @property
    def token_embedding(self) -> ReversibleEmbedding:
        """The table of tokens, for a head to share."""
        return self.embedding.token

    def __call__(
        self,
        token_ids: Any,
        lengths: Any = None,
        segment_ids: Any = None,
        *,
        position_ids: Any = None,
        positions: Any = None,
        dropout_seed: Any = None,
    ) -> tf.Tensor:
        warn_if_untracked(self, "tf_mlm.keras.Encoder")
        context, x = self.attend(
            token_ids, lengths, segment_ids, position_ids=position_ids, dropout_seed=dropout_seed
        )
        if positions is None:
            return self.transform(context, x, dropout_seed=dropout_seed)
        positions = positions_argument(positions, "positions", keras_layer="tf_mlm.keras.Encoder")
        if not positions.shape[:1].is_compatible_with(x.shape[:1]):
            raise ValueError(
                "`positions` must have one row per row of `token_ids`. "
                f"Received: positions.shape={positions.shape}, {x.shape[0]} rows of ids."
            )
        check_positions(positions, tf.shape(x)[1], "positions")
        rows = [gather_positions(state, positions) for state in (context, x)]
        return zero_unused(self.transform(*rows, dropout_seed=dropout_seed), positions)

    def attend(
        self,
        token_ids: Any,
        lengths: Any = None,
        segment_ids: Any = None,
        *,
        position_ids: Any = None,
        dropout_seed: Any = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """All that mixes positions: everything but the position-wise half of the last block.

        Returns:
            The two arguments of `transform`, each [batch, length, hidden]. Gather the positions of
            interest from both before `transform`, and it does no work on the others.
        """
        inputs = ModelInputs.of(token_ids, lengths=lengths, segment_ids=segment_ids)
        inputs = dense_ids(inputs, self.config.pad_token_id, keras_layer="tf_mlm.keras.Encoder")
        token_ids, lengths, segment_ids = self._checked(inputs)
        mask = length_mask(lengths, tf.shape(token_ids)[1])
        packed = None if position_ids is None else self._packed(position_ids, token_ids)
        *layers, last = self.layers
        x = self.embedding(
            token_ids,
            segment_ids,
            fold_in(dropout_seed, len(layers) + 1),
            mask,
            None if packed is None else packed.position_ids,
        )
        given = x
        for index, layer in enumerate(layers):
            seed = fold_in(dropout_seed, index)

            def run(x: tf.Tensor, layer: EncoderBlock = layer, seed: Any = seed) -> tf.Tensor:
                return layer(x, mask, seed, packed)

            x = recomputed(run, x) if self.recompute else run(x)
            if self.convolution is not None and not index:
                x = self.convolution(given, x, mask, fold_in(dropout_seed, len(layers) + 2))
        return last.attend(x, mask, fold_in(dropout_seed, len(layers)), packed), x

    def _packed(self, position_ids: Any, token_ids: tf.Tensor) -> Packed:
        """The documents of each row, once their positions are known to be in range."""
        config = self.config
        if not config.reads_apart:
            raise ConfigError(
                "Rows of several documents need an encoder that reads each of them by itself. Received: "
                f"`position_ids` for {config.model_type}, which mixes what stands in a row otherwise than by "
                "attention, or counts it. Give each document a row of its own."
            )
        position_ids = indices_argument(position_ids, "position_ids", "[batch, length]")
        if not position_ids.shape.is_compatible_with(token_ids.shape):
            raise ValueError(
                "`position_ids` must have the shape of `token_ids`. Received: "
                f"position_ids.shape={position_ids.shape}, token_ids.shape={token_ids.shape}."
            )
        limit = config.max_length
        rule = in_range(position_ids, limit, f"`position_ids` must lie in [0, {limit}).")
        return Packed.of(checked([position_ids], rule)[0])

    def transform(self, context: tf.Tensor, x: tf.Tensor, *, dropout_seed: Any = None) -> tf.Tensor:
        """The position-wise half of the last block, and what is behind it: [..., hidden] → [..., hidden]."""
        layers = self.layers
        x = layers[-1].transform(context, x, fold_in(dropout_seed, len(layers) - 1))
        return x if self.final_norm is None else self.final_norm(x)

    def _checked(self, inputs: ModelInputs) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Ids, lengths and segments, once they are known to be in range."""
        token_ids, lengths, segment_ids, _ = inputs
        length, limit = token_ids.shape[1], self.config.max_length
        if length is not None and length > limit:
            raise ValueError(
                f"The model has positions for {limit} tokens. Received: length={length}. "
                "Truncate the input, or load a model with more `max_position_embeddings`."
            )
        columns, vocab, segments = tf.shape(token_ids)[1], self.config.vocab_size, self.config.type_vocab_size
        rules = [
            in_range(lengths, columns + 1, "`lengths` must lie in [0, number of columns of `token_ids`].")
        ]
        if tf.executing_eagerly():  # in a graph the lookup itself fails
            rules.append(in_range(token_ids, vocab, f"`token_ids` must lie in [0, {vocab})."))
        if segment_ids is None or not segments:
            token_ids, lengths = checked([token_ids, lengths], *rules)
            return token_ids, lengths, None
        rules.append(in_range(segment_ids, segments, f"`segment_ids` must lie in [0, {segments})."))
        token_ids, lengths, segment_ids = checked([token_ids, lengths, segment_ids], *rules)
        return token_ids, lengths, segment_ids
