"""BERT's encoder as a Keras layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.keras.module_layer import ModuleLayer
from tf_mlm.keras.reversible_embedding import ReversibleEmbedding
from tf_mlm.layers.initializer import truncated_normal
from tf_mlm.model.bert_encoder import BertEncoder


@keras.saving.register_keras_serializable("tf_mlm")
class Encoder(ModuleLayer):
    """`tf_mlm.BertEncoder` as a Keras layer: token ids to hidden states, with dropout in training.

    Takes lengths, not a padding mask. Without lengths, a row of ids ends behind its last id that is not
    `config.pad_token_id`, so that one input is enough, as in a `keras.Sequential`.

    Shapes:
        token_ids, segment_ids: integers [batch, length]; lengths: integers [batch] or [batch, 1]. Or a
            dictionary of these, under their names, in place of `token_ids`.
        result: float [batch, length, hidden]; with `positions` integers [batch, masks], only those:
            [batch, masks, hidden], zeros at unused slots (-1).

    Args:
        config: sizes, activation, rates; a `tf_mlm.ModelConfig` or its fields as a dictionary.
        token_embedding: the table of tokens, a `tf_mlm.keras.ReversibleEmbedding` of the config's sizes, if
            it exists already. The encoder's own is at `encoder.token_embedding`, for a head to share.
        seed: makes the initial weights and the dropout reproducible.
        **options: of every Keras layer: `name`, `trainable`, `dtype` (a dtype or policy).

    Raises:
        ValueError: at construction for an embedding of other sizes, at the call for shapes that do not fit
            or a length beyond the position table.
        tf.errors.InvalidArgumentError: for ids, segments, lengths or positions out of range, eagerly and
            in graphs on CPU. XLA has no such check and clamps them.

    Example:
        >>> config = ModelConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> encoder = Encoder(config)
        >>> token_ids, lengths = keras.Input([16], dtype="int32"), keras.Input([], dtype="int32")
        >>> encoder(token_ids, lengths).shape
        (None, 16, 8)
    """

    def __init__(
        self,
        config: ModelConfig | dict[str, Any],
        token_embedding: ReversibleEmbedding | None = None,
        *,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        fields = dataclasses.asdict(config) if isinstance(config, ModelConfig) else dict(config)
        self._hide("config", ModelConfig(**fields))
        self.seed = seed
        sizes = (self.config.vocab_size, self.config.token_embedding_size)
        if token_embedding is None:
            initial = truncated_normal(self.config.initializer_range, seed)
            token_embedding = ReversibleEmbedding(
                *sizes, embeddings_initializer=initial, name="token", dtype=self.dtype_policy
            )
        if not isinstance(token_embedding, ReversibleEmbedding):
            raise ValueError(
                "`token_embedding` must be a tf_mlm.keras.ReversibleEmbedding. "
                f"Received: {token_embedding!r} of type {type(token_embedding).__name__}."
            )
        if (token_embedding.input_dim, token_embedding.output_dim) != sizes:
            raise ValueError(
                f"`token_embedding` must have the sizes that the config states, {sizes}. "
                f"Received: ({token_embedding.input_dim}, {token_embedding.output_dim})."
            )
        self.token_embedding = token_embedding
        rates = self.config.hidden_dropout_prob, self.config.attention_probs_dropout_prob
        self._seeds = keras.random.SeedGenerator(seed) if any(rates) else None

    @classmethod
    def from_module(cls, module: BertEncoder, **options: Any) -> Encoder:
        """A built layer with a copy of the module's weights, as of `tf_mlm.load(directory).encoder`."""
        options = {"name": module.name, "dtype": module.precision.name, **options}
        embedding = ReversibleEmbedding.from_module(module.embedding.token, dtype=options["dtype"])
        layer = cls(module.config, embedding, **options)
        layer.build()
        layer._assign(module)
        return layer

    def build(self, token_ids_shape: Any = None) -> None:
        if self._module is not None:
            return
        if not self.token_embedding.built:
            self.token_embedding.build()
        token = self.token_embedding.module
        self._hold(
            lambda: BertEncoder(
                self.config,
                dtype=self._precision(),
                seed=self.seed,
                token_embedding=token,
                name=self.name,
            ),
            shared=[token],
        )

    @property
    def module(self) -> Any:
        """The `tf_mlm.BertEncoder` that computes, with this layer's weights and its embedding's."""
        _ = self._module and self.token_embedding.module  # puts the table's weights in their places
        return super().module

    def call(
        self,
        token_ids: Any,
        lengths: Any = None,
        segment_ids: Any = None,
        *,
        positions: Any = None,
        training: bool | None = None,
    ) -> Any:
        seed = None
        if training and self._seeds is not None:
            seed = tf.cast(tf.math.floormod(self._seeds.next(), tf.int32.max - 1), tf.int32)
        given = {"lengths": lengths, "segment_ids": segment_ids}
        given = {name: value for name, value in given.items() if value is not None}
        inputs = token_ids if isinstance(token_ids, Mapping) else {"token_ids": token_ids}
        inputs = {name: _as_integers(value) for name, value in {**inputs, **given}.items()}
        if (lengths := inputs.get("lengths")) is not None and lengths.shape.rank == 2:
            inputs["lengths"] = tf.squeeze(lengths, 1)  # Keras may make rows of one number of a vector
        return self.module(inputs, positions=positions, dropout_seed=seed)

    def compute_output_spec(
        self,
        token_ids: Any,
        lengths: Any = None,
        segment_ids: Any = None,
        *,
        positions: Any = None,
        training: bool | None = None,
    ) -> Any:
        ids = token_ids["token_ids"] if isinstance(token_ids, Mapping) else token_ids
        for name, value, axes in (
            ("token_ids", ids, "[batch, length]"),
            ("positions", positions, "[batch, masks]"),
        ):
            if value is not None and len(value.shape) != 2:
                raise ValueError(
                    f"`{name}` must be integers of shape {axes}. "
                    f"Received: dtype={value.dtype}, shape={tuple(value.shape)}."
                )
        length, limit = ids.shape[1], self.config.max_length
        if length is not None and length > limit:
            raise ValueError(
                f"The model has positions for {limit} tokens. Received: length={length}. "
                "Truncate the input, or use a config with more `max_position_embeddings`."
            )
        rows = ids.shape if positions is None else positions.shape
        return keras.KerasTensor((*rows, self.config.hidden_size), dtype=self._precision().compute)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "config": dataclasses.asdict(self.config),
            "token_embedding": keras.layers.serialize(self.token_embedding),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Encoder:
        config = dict(config)
        if embedding := config.get("token_embedding"):
            config["token_embedding"] = keras.layers.deserialize(embedding)
        return cls(**config)


def _as_integers(ids: Any) -> Any:
    """Ids that come as floats, as Keras hands them to the first layer of a `Sequential`."""
    return tf.cast(ids, tf.int32) if ids.dtype.is_floating else ids
