"""The masked-LM head: hidden states at the masked positions to scores over the vocabulary."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.arguments import tensor_argument
from tf_mlm.layers import activation as activations
from tf_mlm.layers import initializer as initializers
from tf_mlm.layers import keras_copy
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.keras_tracking import warn_if_untracked
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.positions import check_states, gather_positions, positions_argument, zero_unused
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.product import times_output_kernel
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding


class MaskedLMHead(tf.Module):
    """Predicts the tokens at masked positions, as `keras_hub.layers.MaskedLMHead` does.

    Four steps: gather the masked positions, a dense layer with activation, a layer norm, and a
    projection to the vocabulary (by the transposed token embedding, or a kernel of its own) plus bias
    (Devlin et al., https://arxiv.org/abs/1810.04805; tying: https://arxiv.org/abs/1608.05859). A `bare` head
    gathers and projects: it has neither the dense layer and the norm nor a bias.

    A position of -1 marks a slot that a text does not use, as `TextPreprocessor` pads them: its row of
    the result is zeros, whatever the activation, and so is its gradient. That holds everywhere, under
    XLA too. Other positions outside [0, length) raise `InvalidArgumentError`, eagerly and in graphs on
    CPU; XLA has no such check: there, and on TPU, they are clamped into range.

    Shapes:
        inputs: float [batch, length, hidden]; mask_positions: integers [batch, masks], or ragged
            [batch, (masks)], which is read as padded with -1.
        result: [batch, masks, vocab], float32 under `mixed_bfloat16`, else in `dtype`.

    Args:
        vocabulary_size: number of scores; may be left out when `token_embedding` is given.
        token_embedding: a `ReversibleEmbedding` whose table the projection shares. Without it
            the head has an output kernel [hidden, vocab] of its own.
        intermediate_activation: activation of the dense layer, by name or as a callable.
        activation: activation of the result: None for logits, "softmax" for probabilities.
        layer_norm_epsilon: added to the variance of the layer norm.
        kernel_initializer: a Keras initializer or its name, for the dense and the output kernel.
        bias_initializer: the same, for the dense and the output bias.
        hidden_dim: size of the last axis of `inputs`; given, all variables exist at construction.
        dense_bias, norm_bias: whether the dense layer and the norm have a bias; KerasHub's layer always has.
        bare: leave out the dense layer, the norm and the bias of the result.
        name: name of the module.
        trainable: whether the variables are trainable.
        dtype: `float32`, `bfloat16` or `mixed_bfloat16` (float32 variables, norm and logits).

    Raises:
        ValueError: when neither or contradictory sizes are given, and at the call for shapes that
            do not fit.

    Example:
        >>> embedding = ReversibleEmbedding(100, 16)
        >>> head = MaskedLMHead(token_embedding=embedding, hidden_dim=16)
        >>> head(tf.ones([2, 8, 16]), tf.constant([[1, 3], [0, 7]])).shape
        TensorShape([2, 2, 100])
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        token_embedding: ReversibleEmbedding | None = None,
        intermediate_activation: Any = "relu",
        activation: Any = None,
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        hidden_dim: int | None = None,
        dense_bias: bool = True,
        norm_bias: bool = True,
        bare: bool = False,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name or "masked_lm_head")
        if vocabulary_size is None and token_embedding is None:
            raise ValueError(
                "One of `vocabulary_size` or `token_embedding` must be set. "
                "Received: `vocabulary_size=None`, `token_embedding=None`."
            )
        if token_embedding is not None and not isinstance(token_embedding, ReversibleEmbedding):
            raise ValueError(
                "`token_embedding` must be a tf_mlm.ReversibleEmbedding; ReversibleEmbedding.from_keras "
                "copies Keras's layer, and tf_mlm.keras.MaskedLMHead shares its table. "
                f"Received: token_embedding={token_embedding!r} of type {type(token_embedding).__name__}."
            )
        if token_embedding is not None and vocabulary_size not in (None, token_embedding.input_dim):
            raise ValueError(
                "`vocabulary_size` must match the input dimension of `token_embedding`. Received: "
                f"`vocabulary_size={vocabulary_size}`, "
                f"`token_embedding.input_dim={token_embedding.input_dim}`."
            )
        for size_name, size in (("vocabulary_size", vocabulary_size), ("hidden_dim", hidden_dim)):
            if size is not None and size < 1:
                raise ValueError(f"`{size_name}` must be at least 1. Received: {size_name}={size}.")
        if layer_norm_epsilon <= 0:
            raise ValueError(
                f"`layer_norm_epsilon` must be positive. Received: layer_norm_epsilon={layer_norm_epsilon}."
            )
        if token_embedding is not None:
            vocabulary_size = token_embedding.input_dim
        assert vocabulary_size is not None  # one of the two was given
        self.vocabulary_size = vocabulary_size
        self.token_embedding = token_embedding
        self.intermediate_activation = activations.get(intermediate_activation)
        self.activation = activations.get(activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.dense_bias, self.norm_bias, self.bare = dense_bias, norm_bias, bare
        self.trainable = trainable
        self.precision = Precision.of(dtype)
        self.hidden_dim: int | None = None
        self.intermediate_dense: Dense | None = None
        self.intermediate_layer_norm: LayerNorm | None = None
        self.output_kernel: tf.Variable | None = None
        self.output_bias: tf.Variable | None = None
        if not bare:
            bias = self.bias_initializer([self.vocabulary_size], self.precision.variable)
            self.output_bias = tf.Variable(bias, name="output_bias", trainable=trainable)
        if hidden_dim is not None:
            self._build(hidden_dim)

    def _build(self, hidden_dim: int) -> None:
        feature_dim = hidden_dim if self.token_embedding is None else self.token_embedding.output_dim
        if self.bare and feature_dim != hidden_dim:
            raise ValueError(
                "A bare head projects what it gets: `token_embedding` must be as wide as `hidden_dim`. "
                f"Received: output_dim={feature_dim}, hidden_dim={hidden_dim}."
            )
        if not self.bare:
            self.intermediate_dense = Dense(
                hidden_dim,
                feature_dim,
                self.intermediate_activation,
                self.kernel_initializer,
                self.bias_initializer,
                use_bias=self.dense_bias,
                name="intermediate_dense",
                trainable=self.trainable,
                dtype=self.precision,
            )
            self.intermediate_layer_norm = LayerNorm(
                feature_dim,
                self.layer_norm_epsilon,
                use_bias=self.norm_bias,
                name="intermediate_layer_norm",
                trainable=self.trainable,
                dtype=self.precision,
            )
        if self.token_embedding is None:
            self.output_kernel = tf.Variable(
                self.kernel_initializer([feature_dim, self.vocabulary_size], self.precision.variable),
                name="output_kernel",
                trainable=self.trainable,
            )
        self.hidden_dim = hidden_dim

    def __call__(self, inputs: Any, mask_positions: Any) -> tf.Tensor:
        layer = "tf_mlm.keras.MaskedLMHead"
        warn_if_untracked(self, layer)
        inputs = tensor_argument(
            inputs, "inputs", "floating point", "[batch, length, hidden]", keras_layer=layer
        )
        mask_positions = positions_argument(mask_positions, keras_layer=layer)
        check_states(inputs, mask_positions, self.hidden_dim)
        features = self.transform(gather_positions(inputs, mask_positions))
        return zero_unused(self.project(features), mask_positions)

    def transform(self, rows: tf.Tensor) -> tf.Tensor:
        """Dense, activation and norm: [..., hidden] → [..., feature], the input of the projection."""
        if self.hidden_dim is None:
            with tf.init_scope():  # variables are made once, outside any graph that is being traced
                self._build(int(rows.shape[-1]))
        if self.intermediate_dense is None or self.intermediate_layer_norm is None:
            return rows
        return self.intermediate_layer_norm(self.intermediate_dense(rows))

    def project(self, features: tf.Tensor) -> tf.Tensor:
        """Features [..., feature] → scores [..., vocab]: projection, bias and final activation."""
        dtype = self.precision.logits
        bias = tf.cast(self.bias_of_scores, dtype)
        if self.token_embedding is not None:
            embedding = self.token_embedding
            logits = embedding.project(features, embedding.reverse_dtype or dtype, bias)
        else:
            assert self.output_kernel is not None  # without an embedding there is an own kernel
            rows = tf.reshape(tf.cast(features, dtype), [-1, self.output_kernel.shape[0]])
            logits = times_output_kernel(rows, self.output_kernel) + bias
            shape = tf.concat([tf.shape(features)[:-1], [self.vocabulary_size]], 0)
            logits = tf.ensure_shape(
                tf.reshape(logits, shape), features.shape[:-1].concatenate(self.vocabulary_size)
            )
        return activations.activated(self.activation, logits)

    @property
    def trainable_variables(self) -> tuple[tf.Variable, ...]:
        """The variables to train; none of a frozen head, though its embedding may be trained elsewhere."""
        return super().trainable_variables if self.trainable else ()

    @property
    def bias_of_scores(self) -> tf.Tensor:
        """The output bias, [vocab]; zeros for a bare head, which has none."""
        if self.output_bias is None:
            return tf.zeros([self.vocabulary_size], self.precision.variable)
        return tf.convert_to_tensor(self.output_bias)

    @property
    def output_table(self) -> tf.Tensor:
        """The table of the projection, [vocab, feature]: the tied embedding, or the transposed kernel."""
        if self.token_embedding is not None:
            return self.token_embedding.output_table
        return tf.transpose(self.output_kernel)

    def compute_output_shape(self, inputs_shape: Any, mask_positions_shape: Any) -> tuple[int | None, ...]:
        """[batch, length, hidden] and [batch, masks] → (batch, masks, vocab)."""
        return (*tuple(mask_positions_shape), self.vocabulary_size)

    def get_config(self) -> dict[str, Any]:
        """The arguments as JSON values; KerasHub's `from_config` accepts them too.

        `hidden_dim` is not among them, as KerasHub's layer has no such argument; the variables of
        a head made from a config appear with its first call.
        """
        embedding = self.token_embedding
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.precision.name,
            "vocabulary_size": self.vocabulary_size,
            "token_embedding": embedding
            and {
                "module": "keras.layers",
                "class_name": "ReversibleEmbedding",
                "config": embedding.get_config(),
                "registered_name": None,
            },
            "intermediate_activation": activations.serialize(self.intermediate_activation),
            "activation": activations.serialize(self.activation),
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            # KerasHub's layer has no such arguments.
            **{name: False for name in ("dense_bias", "norm_bias") if not getattr(self, name)},
            **({"bare": True} if self.bare else {}),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedLMHead:
        """The head that `get_config`, here or in KerasHub, described (with a new embedding table)."""
        config = dict(config)
        if embedding := config.get("token_embedding"):
            config["token_embedding"] = ReversibleEmbedding.from_config(embedding["config"])
        return cls(**config)

    @classmethod
    def from_keras(cls, layer: Any, token_embedding: ReversibleEmbedding | None = None) -> MaskedLMHead:
        """A copy of a built `keras_hub` or `tf_mlm.keras` `MaskedLMHead`, weights included.

        Args:
            layer: the built layer.
            token_embedding: the converted embedding to share, when the encoder's has been converted
                already; otherwise the layer's own is converted with it.

        Raises:
            ValueError: when the layer is not built yet.
        """
        arguments = keras_copy.head_arguments(layer)
        if layer.token_embedding is not None:
            token_embedding = token_embedding or ReversibleEmbedding.from_keras(layer.token_embedding)
        head = cls(**{**arguments, "token_embedding": token_embedding})
        keras_copy.copy_to_head(layer, head)
        return head

    def to_keras(self, token_embedding: Any = None) -> Any:
        """This head as a built `keras_hub.layers.MaskedLMHead`, weights included (needs keras-hub).

        Args:
            token_embedding: the layer whose table to share, where the embedding's was converted already;
                otherwise it is converted too.
        """
        if self.token_embedding is not None:
            token_embedding = token_embedding or self.token_embedding.to_keras()
        return keras_copy.head_as_keras_hub(self, token_embedding)
