"""Encoder and masked-LM head in one compilable call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tf_mlm.config import ROBERTA_TYPES, ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.layers.initializer import truncated_normal
from tf_mlm.layers.keras_tracking import warn_if_untracked
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.layers.positions import check_positions, gather_positions, positions_argument, zero_unused
from tf_mlm.model.bert_encoder import BertEncoder
from tf_mlm.model.encoder import Encoder, SplitEncoder
from tf_mlm.model.inputs import ModelInputs, dense_ids

if TYPE_CHECKING:
    from tf_mlm.text.preprocessor import TextPreprocessor


def head_activation(config: ModelConfig) -> str:
    """The activation inside the head: ELECTRA and RoBERTa use GELU there whatever the encoder uses."""
    follows = "gelu" if config.model_type in ("electra", *ROBERTA_TYPES) else config.hidden_act
    return config.head_hidden_act or follows


def head_epsilon(config: ModelConfig) -> float:
    """The epsilon of the head's layer norm."""
    return config.head_layer_norm_eps or config.layer_norm_eps


class MaskedLM(tf.Module):
    """Token ids to logits at the masked positions.

    The encoder is a `BertEncoder` or any other `Encoder`. Where it can be split (`SplitEncoder`), its last,
    position-wise part runs only at the masked positions; the numbers are the same.

    The parts compose: the first argument may be what a `TextPreprocessor` returned, or the dictionary of a
    `MaskedLMMaskGenerator` that was given it, and the others are then taken from there.

    Shapes:
        token_ids, segment_ids: integers [batch, length], or ragged [batch, (length)]; lengths: integers
        [batch]; mask_positions: integers [batch, masks], -1 in slots that a text does not use, or ragged
        [batch, (masks)]; position_ids: integers [batch, length] where rows hold several documents, as
        `BertEncoder` takes them → logits: float32 [batch, masks, vocab], zeros in slots that are not used.

    Args:
        encoder: an `Encoder`. For calls with lengths, a function `(token_ids, lengths, segment_ids)` → hidden
            states [batch, length, hidden] will do; training, `FillMask` and export read its `config` too.
        head: the masked-LM head.
        preprocessor: strings to ids; `FillMask` and the exporter need it, training ids do not.

    Example:
        >>> config = ModelConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> model = MaskedLM.from_config(config, seed=0)
        >>> model([[2, 5, 4, 3]], lengths=[4], segment_ids=[[0, 0, 0, 0]], mask_positions=[[2]]).shape
        TensorShape([1, 1, 30])

    Raises:
        ValueError: at the call, for inputs of another type or shape, and without `mask_positions`.
        tf.errors.InvalidArgumentError: for values out of range, as `BertEncoder` and `MaskedLMHead` do.
    """

    def __init__(
        self,
        encoder: Encoder | Callable[..., tf.Tensor],
        head: MaskedLMHead,
        *,
        preprocessor: TextPreprocessor | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or "masked_lm")
        self.encoder = encoder
        self.head = head
        self.preprocessor = preprocessor

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
        preprocessor: TextPreprocessor | None = None,
    ) -> MaskedLM:
        """A new model with random weights (truncated normal, `config.initializer_range`)."""
        encoder = BertEncoder(config, dtype=dtype, seed=seed)
        head = MaskedLMHead(
            config.vocab_size,
            encoder.embedding.token if config.tie_word_embeddings else None,
            head_activation(config),
            layer_norm_epsilon=head_epsilon(config),
            kernel_initializer=truncated_normal(config.initializer_range, None if seed is None else seed - 1),
            hidden_dim=config.hidden_size,
            dense_bias=config.head_bias,
            norm_bias=config.norm_bias,
            bare=config.bare_head,
            name="head",
            dtype=dtype,
        )
        return cls(encoder, head, preprocessor=preprocessor)

    @property
    def config(self) -> ModelConfig:
        """The encoder's configuration.

        Raises:
            ConfigError: where the encoder has none.
        """
        config = getattr(self.encoder, "config", None)
        if config is None:
            raise ConfigError(
                "The encoder must have a `config`, as `tf_mlm.Encoder` describes. Received: "
                f"encoder={type(self.encoder).__name__} without one. Give it a ModelConfig of its sizes."
            )
        return config

    def __call__(
        self,
        token_ids: Any,
        lengths: Any = None,
        segment_ids: Any = None,
        mask_positions: Any = None,
        *,
        position_ids: Any = None,
        dropout_seed: Any = None,
    ) -> tf.Tensor:
        warn_if_untracked(self, "tf_mlm.keras.Encoder and tf_mlm.keras.MaskedLMHead")
        inputs = self._inputs(token_ids, lengths, segment_ids, mask_positions)
        features = self.masked_states(*inputs, position_ids=position_ids, dropout_seed=dropout_seed)
        return zero_unused(tf.cast(self.head.project(features), tf.float32), inputs.mask_positions)

    def masked_states(
        self,
        token_ids: Any,
        lengths: Any = None,
        segment_ids: Any = None,
        mask_positions: Any = None,
        *,
        position_ids: Any = None,
        dropout_seed: Any = None,
    ) -> tf.Tensor:
        """What the vocabulary projection gets: float [batch, masks, embedding].

        A loss that never holds all logits starts from here, with `head.output_table` and
        `head.bias_of_scores`. It must give unused slots the weight 0: their rows mean nothing.
        """
        inputs = self._inputs(token_ids, lengths, segment_ids, mask_positions)
        states = self.states(*inputs[:3], position_ids=position_ids, dropout_seed=dropout_seed)
        check_positions(inputs.mask_positions, tf.shape(states[0])[1])
        rows = [gather_positions(state, inputs.mask_positions) for state in states]
        return self.features(*rows, dropout_seed=dropout_seed)

    def _inputs(self, token_ids: Any, lengths: Any, segment_ids: Any, mask_positions: Any) -> ModelInputs:
        """The inputs as dense tensors, from one by one or from one that holds them."""
        given = ModelInputs.of(
            token_ids, lengths=lengths, segment_ids=segment_ids, mask_positions=mask_positions
        )
        layers = "tf_mlm.keras.Encoder and tf_mlm.keras.MaskedLMHead"
        config = getattr(self.encoder, "config", None)
        inputs = dense_ids(given, getattr(config, "pad_token_id", None), keras_layer=layers)
        positions = positions_argument(inputs.mask_positions, keras_layer=layers)
        if not positions.shape[:1].is_compatible_with(inputs.token_ids.shape[:1]):
            raise ValueError(
                "`mask_positions` must have one row per row of `token_ids`. Received: mask_positions.shape="
                f"{positions.shape}, token_ids.shape={inputs.token_ids.shape}."
            )
        return inputs._replace(mask_positions=positions)

    def states(
        self,
        token_ids: Any,
        lengths: Any,
        segment_ids: Any,
        *,
        position_ids: Any = None,
        dropout_seed: Any = None,
    ) -> tuple[tf.Tensor, ...]:
        """All the work that mixes positions: one or more tensors [batch, length, hidden].

        Gather the positions of interest from each and hand them to `features`.
        """
        # Left out where there is none: not every function that maps ids to states knows of them.
        more = {"position_ids": position_ids, "dropout_seed": dropout_seed}
        more = {name: value for name, value in more.items() if value is not None}
        if isinstance(self.encoder, SplitEncoder):
            return self.encoder.attend(token_ids, lengths, segment_ids, **more)
        return (self.encoder(token_ids, lengths, segment_ids, **more),)

    def hidden(self, *states: tf.Tensor, dropout_seed: Any = None) -> tf.Tensor:
        """Final hidden states [..., hidden], from `states` at the same positions."""
        if isinstance(self.encoder, SplitEncoder):
            return self.encoder.transform(*states, dropout_seed=dropout_seed)
        return states[0]

    def features(self, *states: tf.Tensor, dropout_seed: Any = None) -> tf.Tensor:
        """What the vocabulary projection gets, [..., embedding], from `states` at the same positions."""
        return self.head.transform(self.hidden(*states, dropout_seed=dropout_seed))
