"""The masked-LM head as a Keras layer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_mlm.keras.module_layer import ModuleLayer
from tf_mlm.keras.reversible_embedding import ReversibleEmbedding
from tf_mlm.layers.keras_copy import check_has_keras_layer
from tf_mlm.layers.masked_lm_head import MaskedLMHead as Module
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding as EmbeddingModule


@keras.saving.register_keras_serializable("tf_mlm")
class MaskedLMHead(ModuleLayer):
    """`tf_mlm.MaskedLMHead` as a Keras layer; arguments and numbers as `keras_hub.layers.MaskedLMHead`.

    A position of -1 marks a slot that is not used: its row of the result is zeros. With a shared
    `token_embedding` the table is a weight of the embedding, counted, saved and loaded once. (As with
    KerasHub's layer, `keras.models.clone_model` gives each layer of the clone a table of its own.)

    Shapes:
        inputs: float [batch, length, hidden]; mask_positions: integers [batch, masks].
        result: [batch, masks, vocab], float32 under mixed policies, else in the layer's dtype.

    Args:
        vocabulary_size: number of scores; may be left out when `token_embedding` is given.
        token_embedding: `tf_mlm.keras.ReversibleEmbedding`, or Keras's or KerasHub's layer of that name,
            whose table the projection shares.
        intermediate_activation: activation of the dense layer, by name or as a callable.
        activation: activation of the result: None for logits, "softmax" for probabilities.
        layer_norm_epsilon: added to the variance of the layer norm.
        kernel_initializer: a Keras initializer or its name, for the dense and the output kernel.
        bias_initializer: the same, for the dense and the output bias.
        **options: of every Keras layer: `name`, `trainable`, `dtype` (a dtype or policy).

    Raises:
        ValueError: when neither or contradictory sizes are given, and at the call for shapes that
            do not fit.

    Example:
        >>> embedding = ReversibleEmbedding(100, 16)
        >>> head = MaskedLMHead(token_embedding=embedding)
        >>> states, positions = keras.Input([8, 16]), keras.Input([2], dtype="int32")
        >>> head(states, positions).shape
        (None, 2, 100)
        >>> len(head.weights)
        6
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        token_embedding: Any = None,
        intermediate_activation: Any = "relu",
        activation: Any = None,
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        is_layer = isinstance(token_embedding, keras.layers.Layer) and hasattr(token_embedding, "output_dim")
        if token_embedding is not None and not is_layer:
            raise ValueError(
                "`token_embedding` must be a Keras layer: a tf_mlm.keras.ReversibleEmbedding, whose "
                "from_module copies a plain module, or Keras's or KerasHub's. Received: "
                f"{token_embedding!r} of type {type(token_embedding).__name__}."
            )
        self.token_embedding = token_embedding
        self._hide(
            "_arguments",
            {
                "vocabulary_size": vocabulary_size,
                "intermediate_activation": intermediate_activation,
                "activation": activation,
                "layer_norm_epsilon": layer_norm_epsilon,
                "kernel_initializer": kernel_initializer,
                "bias_initializer": bias_initializer,
            },
        )
        # Made without a hidden size it has next to no variables, but checks and completes the arguments.
        table = None if token_embedding is None else _SharedTable(token_embedding)
        with tf.init_scope():
            checked = Module(token_embedding=table, **self._arguments)
        self.vocabulary_size = checked.vocabulary_size
        for name in ("kernel_initializer", "bias_initializer"):
            self._arguments[name] = getattr(checked, name)  # drawn once, for `build` and `get_config`
        self._hide("_described", checked.get_config())

    @classmethod
    def from_module(cls, module: Module, token_embedding: Any = None, **options: Any) -> MaskedLMHead:
        """A built layer with a copy of the module's weights.

        Args:
            module: a head that has its variables.
            token_embedding: the layer whose table to share, where the module's was copied already
                (`Encoder.token_embedding`); otherwise the module's is copied with it.
            **options: of the layer: `name`, `trainable`, `dtype`.

        Raises:
            ValueError: when the module has no variables yet, or leaves out what this layer always has.
        """
        check_has_keras_layer(module)
        config = {**module.get_config(), "token_embedding": None, **options}
        if module.token_embedding is not None:
            token_embedding = token_embedding or ReversibleEmbedding.from_module(module.token_embedding)
            config["token_embedding"] = token_embedding
        layer = cls(**config)
        layer.build((None, None, module.hidden_dim))
        layer._assign(module)
        return layer

    def build(self, inputs_shape: Any, mask_positions_shape: Any = None) -> None:
        if self._module is not None:
            return
        if inputs_shape[-1] is None:
            raise ValueError(
                "The last axis of `inputs` must be known before the layer can make its variables. "
                f"Received: shape={tuple(inputs_shape)}."
            )
        table = None
        if isinstance(self.token_embedding, ReversibleEmbedding):
            if not self.token_embedding.built:
                self.token_embedding.build()
            table = self.token_embedding.module
        elif self.token_embedding is not None:
            if not self.token_embedding.built:
                self.token_embedding.build((None, None))
            table = _SharedTable(self.token_embedding)
        self._hold(
            lambda: Module(
                token_embedding=table,
                hidden_dim=int(inputs_shape[-1]),
                name=self.name,
                dtype=self._precision(),
                **self._arguments,
            ),
            shared=[] if table is None else [table],
        )

    def call(self, inputs: Any, mask_positions: Any) -> Any:
        return self.module(inputs, mask_positions)

    @property
    def module(self) -> Any:
        """The `tf_mlm.MaskedLMHead` that computes, with this layer's weights and its embedding's."""
        if isinstance(self.token_embedding, ReversibleEmbedding) and self._module is not None:
            _ = self.token_embedding.module  # puts the table's weights in their places
        return super().module

    def compute_output_shape(self, inputs_shape: Any, mask_positions_shape: Any) -> tuple[int | None, ...]:
        return (*tuple(mask_positions_shape), self.vocabulary_size)

    def compute_output_spec(self, inputs: Any, mask_positions: Any) -> Any:
        if "int" not in mask_positions.dtype or len(mask_positions.shape) != 2:
            raise ValueError(
                "`mask_positions` must be integers of shape [batch, masks]. "
                f"Received: dtype={mask_positions.dtype}, shape={tuple(mask_positions.shape)}."
            )
        if len(inputs.shape) != 3:
            raise ValueError(
                "`inputs` must be floating point of shape [batch, length, hidden]. "
                f"Received: dtype={inputs.dtype}, shape={tuple(inputs.shape)}."
            )
        shape = self.compute_output_shape(inputs.shape, mask_positions.shape)
        return keras.KerasTensor(shape, dtype=self._precision().logits.name)

    def get_config(self) -> dict[str, Any]:
        embedding = self.token_embedding
        described = {name: self._described[name] for name in self._arguments}
        serialized = None if embedding is None else keras.layers.serialize(embedding)
        return {**super().get_config(), **described, "token_embedding": serialized}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedLMHead:
        config = dict(config)
        if embedding := config.get("token_embedding"):
            config["token_embedding"] = keras.layers.deserialize(embedding)
        return cls(**config)


class _SharedTable(EmbeddingModule):
    """The table of an embedding layer of Keras or KerasHub, which projects in its own way."""

    def __init__(self, layer: Any) -> None:
        tf.Module.__init__(self, name=layer.name)
        self._layer = layer
        self.input_dim, self.output_dim = layer.input_dim, layer.output_dim
        self.reverse_dtype = None

    def project(self, inputs: Any, dtype: Any = None, bias: tf.Tensor | None = None) -> tf.Tensor:
        logits = self._layer(inputs, reverse=True)
        return logits if bias is None else tf.cast(logits, bias.dtype) + bias

    @property
    def output_table(self) -> tf.Tensor:
        if self._layer.tie_weights:
            return tf.convert_to_tensor(self._layer.embeddings)
        return tf.transpose(tf.convert_to_tensor(self._layer.reverse_embeddings))

    def get_config(self) -> dict[str, Any]:
        return {}
