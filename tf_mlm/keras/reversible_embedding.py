"""The token table as a Keras layer."""

from __future__ import annotations

from typing import Any

import keras

from tf_mlm.keras.module_layer import ModuleLayer
from tf_mlm.layers import initializer as initializers
from tf_mlm.layers.keras_state import keras_state
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding as Module


@keras.saving.register_keras_serializable("tf_mlm")
class ReversibleEmbedding(ModuleLayer):
    """`tf_mlm.ReversibleEmbedding` as a Keras layer; numbers as `keras.layers.ReversibleEmbedding`.

    Shapes:
        ids: integers [...] → [..., output_dim].
        hidden states (`reverse=True`): float [..., output_dim] → [..., input_dim].

    Args:
        input_dim: vocabulary size.
        output_dim: size of an embedding.
        tie_weights: whether both directions share one table.
        embeddings_initializer: a Keras initializer or its name.
        reverse_dtype: dtype of the reverse projection; the compute dtype unless given.
        logit_soft_cap: bounds logits smoothly to ±cap.
        **options: of every Keras layer: `name`, `trainable`, `dtype` (a dtype or policy).

    Raises:
        ValueError: for sizes below 1, a soft cap that is not positive, or a policy without floats.

    Example:
        >>> import numpy as np
        >>> embedding = ReversibleEmbedding(10, 4)
        >>> embedding(embedding(np.array([[1, 2]])), reverse=True).shape
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
        **options: Any,
    ) -> None:
        super().__init__(**options)
        Module.check(input_dim, output_dim, logit_soft_cap)
        self.input_dim, self.output_dim = input_dim, output_dim
        self.tie_weights = tie_weights
        self.reverse_dtype, self.logit_soft_cap = reverse_dtype, logit_soft_cap
        self.embeddings_initializer = initializers.get(embeddings_initializer)

    @classmethod
    def from_module(cls, module: Module, **options: Any) -> ReversibleEmbedding:
        """A built layer with a copy of the module's weights."""
        layer = cls(**{**module.get_config(), **options})
        layer.build()
        layer._assign(module)
        return layer

    def build(self, input_shape: Any = None) -> None:
        if self._module is None:
            self._hold(
                lambda: Module(
                    self.input_dim,
                    self.output_dim,
                    self.tie_weights,
                    self.embeddings_initializer,
                    reverse_dtype=self.reverse_dtype,
                    logit_soft_cap=self.logit_soft_cap,
                    name=self.name,
                    dtype=self._precision(),
                )
            )

    @property
    def embeddings(self) -> Any:
        """The table, a weight [input_dim, output_dim]."""
        return self._weight_of("embeddings")

    @property
    def reverse_embeddings(self) -> Any:
        """The weight [output_dim, input_dim] of the other direction, if there is one."""
        return self._weight_of("reverse_embeddings")

    def _weight_of(self, name: str) -> Any:
        return next((weight for _, path, weight in self._places if path == name), None)

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        return self.module(inputs, reverse)

    def compute_output_shape(self, input_shape: Any, reverse: bool = False) -> tuple[int | None, ...]:
        shape = tuple(input_shape)
        return (*shape[:-1], self.input_dim) if reverse else (*shape, self.output_dim)

    def compute_output_spec(self, inputs: Any, reverse: bool = False) -> Any:
        dtype = self.reverse_dtype if reverse and self.reverse_dtype else self._precision().compute
        shape = self.compute_output_shape(inputs.shape, reverse)
        return keras.KerasTensor(shape, dtype=keras.backend.standardize_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        shared = {} if _objects_being_saved() is None else {_SHARED: id(self)}
        return {
            **super().get_config(),
            **shared,
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "tie_weights": self.tie_weights,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "reverse_dtype": self.reverse_dtype,
            "logit_soft_cap": self.logit_soft_cap,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ReversibleEmbedding:
        config = dict(config)
        key, loaded = config.pop(_SHARED, None), _objects_being_loaded()
        if key is None or loaded is None:
            return cls(**config)
        if (_SHARED, key) not in loaded:
            loaded[_SHARED, key] = cls(**config)
        return loaded[_SHARED, key]


_SHARED = "shared_table"
"""In a saved model, what tells the layers that share this one that it is one. Keras has ids for that too,
but gives the first layer none when the object stands inside the config of another layer (Keras 3.15)."""


def _objects_being_saved() -> dict[Any, Any] | None:
    return keras_state("shared_objects/id_to_config_map")


def _objects_being_loaded() -> dict[Any, Any] | None:
    return keras_state("shared_objects/id_to_obj_map")
