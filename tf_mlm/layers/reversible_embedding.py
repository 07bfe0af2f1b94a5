"""A token table that embeds ids, and projects hidden states back to the vocabulary."""

from __future__ import annotations

import inspect
from typing import Any

import tensorflow as tf

from tf_mlm.arguments import tensor_argument
from tf_mlm.layers import initializer as initializers
from tf_mlm.layers import keras_copy
from tf_mlm.layers.keras_tracking import warn_if_untracked
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.product import times_table

# Keys of a Keras config that say nothing about the computation.
_KERAS_BOOKKEEPING = ("batch_shape", "build_config", "input_length")


class ReversibleEmbedding(tf.Module):
    """An embedding table that can be called in reverse, as `keras.layers.ReversibleEmbedding`.

    With `tie_weights` the reverse projection uses the transposed table (Press and Wolf,
    https://arxiv.org/abs/1608.05859); without, a variable of its own. There is no bias.

    Shapes:
        ids: integer [...] → [..., output_dim].
        hidden states (`reverse=True`): float [..., output_dim] → [..., input_dim].

    Args:
        input_dim: vocabulary size.
        output_dim: size of an embedding.
        tie_weights: whether both directions share one table.
        embeddings_initializer: a Keras initializer or its name.
        reverse_dtype: dtype of the reverse projection; the compute dtype unless given.
        logit_soft_cap: bounds logits smoothly to ±cap, by `cap * tanh(logits / cap)`.
        dtype: `float32`, `bfloat16`, `mixed_bfloat16` or another float dtype or Keras policy.

    Raises:
        ValueError: for sizes below 1 or a soft cap that is not positive, and at the call in reverse for
            hidden states of another size than `output_dim`.

    Example:
        >>> embedding = ReversibleEmbedding(10, 4)
        >>> embedding(embedding(tf.constant([[1, 2]])), reverse=True).shape
        TensorShape([1, 2, 10])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        *,
        reverse_dtype: Any = None,
        logit_soft_cap: float | None = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name or "reversible_embedding")
        self.check(input_dim, output_dim, logit_soft_cap)
        self.input_dim, self.output_dim = input_dim, output_dim
        self.tie_weights = tie_weights
        self.reverse_dtype = reverse_dtype
        self.logit_soft_cap = logit_soft_cap
        self.trainable = trainable
        self.precision = Precision.of(dtype)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        variable = self.precision.variable
        self.embeddings = tf.Variable(
            self.embeddings_initializer([input_dim, output_dim], variable),
            name="embeddings",
            trainable=trainable,
        )
        self.reverse_embeddings = (
            None
            if tie_weights
            else tf.Variable(
                self.embeddings_initializer([output_dim, input_dim], variable),
                name="reverse_embeddings",
                trainable=trainable,
            )
        )

    @staticmethod
    def check(input_dim: int, output_dim: int, logit_soft_cap: float | None) -> None:
        """A `ValueError` for sizes below 1 and a soft cap that is not positive."""
        if input_dim < 1 or output_dim < 1:
            raise ValueError(
                "`input_dim` and `output_dim` must be at least 1. "
                f"Received: input_dim={input_dim}, output_dim={output_dim}."
            )
        if logit_soft_cap is not None and logit_soft_cap <= 0:
            raise ValueError(
                f"`logit_soft_cap` must be positive, or None for no cap. Received: {logit_soft_cap}."
            )

    @property
    def output_table(self) -> tf.Tensor:
        """The table of the reverse projection, [input_dim, output_dim]."""
        if self.reverse_embeddings is None:
            return tf.convert_to_tensor(self.embeddings)
        return tf.transpose(self.reverse_embeddings)

    def __call__(self, inputs: Any, reverse: bool = False) -> tf.Tensor:
        warn_if_untracked(self, "tf_mlm.keras.ReversibleEmbedding")
        return self.project(inputs) if reverse else self.embed(inputs)

    def embed(self, ids: Any) -> tf.Tensor:
        """Integer [...] → [..., output_dim] in the compute dtype."""
        ids = tensor_argument(ids, "ids", "numbers", keras_layer="tf_mlm.keras.ReversibleEmbedding")
        if ids.dtype not in (tf.int32, tf.int64):
            ids = tf.cast(ids, tf.int32)  # as Keras: ids may come as floats or as narrow integers
        # Cast after the lookup: casting the table first would touch every row of it.
        return self.precision.cast(self.lookup(ids))

    def lookup(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows of the table, in its own dtype: int32 or int64 [...] → [..., output_dim].

        Example:
            >>> ReversibleEmbedding(7, 3).lookup(tf.constant([[1, 2]])).shape
            TensorShape([1, 2, 3])
        """
        # The table is read first, which copies nothing. `tf.gather` of a variable would have TensorFlow copy
        # all of it at each later read, as outside of XLA every product with it is one.
        return tf.gather(tf.convert_to_tensor(self.embeddings), ids)

    def project(self, inputs: Any, dtype: Any = None, bias: tf.Tensor | None = None) -> tf.Tensor:
        """Float [..., output_dim] → logits [..., input_dim] in `dtype`, else `reverse_dtype`.

        With a `bias` [input_dim] added, behind the soft cap, they have the bias's dtype.
        """
        dtype = tf.as_dtype(dtype or self.reverse_dtype or self.precision.compute)
        layer = "tf_mlm.keras.ReversibleEmbedding"
        inputs = tensor_argument(inputs, "inputs", "numbers", keras_layer=layer)
        inputs = tf.cast(inputs, dtype)
        if inputs.shape.rank == 0 or not inputs.shape[-1:].is_compatible_with([self.output_dim]):
            raise ValueError(
                f"The last axis of `inputs` to the reverse projection must be {self.output_dim}, the "
                f"`output_dim`. Received: shape={inputs.shape}."
            )
        rows = tf.reshape(inputs, [-1, self.output_dim])
        if self.reverse_embeddings is not None:
            logits = self._finish(tf.matmul(rows, tf.cast(self.reverse_embeddings, dtype)), bias)
        else:
            logits = times_table(rows, self.embeddings, bias, self._finish)
        outputs = tf.reshape(logits, tf.concat([tf.shape(inputs)[:-1], [self.input_dim]], 0))
        outputs.set_shape(inputs.shape[:-1].concatenate(self.input_dim))
        return outputs

    def _finish(self, logits: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
        """Soft cap and bias."""
        if self.logit_soft_cap is not None:
            logits = tf.tanh(logits / self.logit_soft_cap) * self.logit_soft_cap
        return logits if bias is None else tf.cast(logits, bias.dtype) + bias

    def compute_output_shape(self, input_shape: Any, reverse: bool = False) -> list[int | None]:
        """The shape of the result, from the shape of the input (None for unknown axes)."""
        shape = list(input_shape)
        return [*shape[:-1], self.input_dim] if reverse else [*shape, self.output_dim]

    def get_config(self) -> dict[str, Any]:
        """The arguments as JSON values, under the names that Keras's layer uses."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.precision.name,
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "tie_weights": self.tie_weights,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "reverse_dtype": self.reverse_dtype,
            "logit_soft_cap": self.logit_soft_cap,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ReversibleEmbedding:
        """The embedding that `get_config`, here or in Keras, described.

        Raises:
            ValueError: when the config uses a Keras feature that a plain table does not have.
        """
        names = inspect.signature(cls).parameters
        for name, value in config.items():
            # What Keras adds for itself is off unless set; where it is set, it must not be lost silently.
            if value and name not in names and name not in _KERAS_BOOKKEEPING:
                raise ValueError(
                    f"`{name}` is a feature of Keras that this layer does not have. "
                    f"Received: {name}={value!r}. Remove it from the config; apply it in your training step."
                )
        return cls(**{name: value for name, value in config.items() if name in names})

    @classmethod
    def from_keras(cls, layer: Any) -> ReversibleEmbedding:
        """A copy of a `keras.layers` or `tf_mlm.keras` `ReversibleEmbedding`, weights included."""
        if not layer.built:
            layer.build()
        embedding = cls.from_config(layer.get_config())
        embedding.embeddings.assign(layer.embeddings)
        if embedding.reverse_embeddings is not None:
            embedding.reverse_embeddings.assign(layer.reverse_embeddings)
        return embedding

    def to_keras(self) -> Any:
        """This embedding as a built `keras.layers.ReversibleEmbedding`, weights included."""
        return keras_copy.embedding_as_keras(self)
