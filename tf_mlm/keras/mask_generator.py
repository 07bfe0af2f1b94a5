"""The mask generator as a Keras layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tf_mlm.keras.module_layer import ModuleLayer
from tf_mlm.text.masking import MaskedLMMaskGenerator as Module


@keras.saving.register_keras_serializable("tf_mlm")
class MaskedLMMaskGenerator(ModuleLayer):
    """`tf_mlm.MaskedLMMaskGenerator` as a Keras layer; arguments as KerasHub's layer, and more.

    Takes dense and ragged ids, batched or not, eagerly, in `tf.data` and inside a model. Inside a functional
    model it needs `mask_selection_length`, as Keras's symbolic tensors are dense.

    Args:
        vocabulary_size: the number of ids that a random token is drawn from.
        mask_selection_rate: the share of selectable tokens to select, in [0, 1].
        mask_token_id: the id of the mask token.
        mask_selection_length: the most tokens selected per row. If set, the mask outputs are dense and
            padded with zeros to this length, else they are ragged.
        unselectable_token_ids: ids never selected, such as padding, [CLS] and [SEP].
        mask_token_rate: the share of selected tokens replaced by the mask token, in [0, 1].
        random_token_rate: the share of selected tokens replaced by a random token, in [0, 1].
        seed: makes masks reproducible; the number of calls is a weight, saved with the layer.
        whole_word: select all tokens of a word or none.
        continuation_token_ids: the ids that continue a word, needed for `whole_word`.
        **options: of every Keras layer: `name`.

    Raises:
        ValueError: as the module's.

    Example:
        >>> mask = MaskedLMMaskGenerator(100, 0.5, 4, mask_selection_length=2, seed=1)
        >>> sorted(mask([[5, 6, 7, 8]]))
        ['mask_ids', 'mask_positions', 'mask_weights', 'token_ids']
    """

    def __init__(
        self,
        vocabulary_size: int,
        mask_selection_rate: float,
        mask_token_id: int,
        mask_selection_length: int | None = None,
        unselectable_token_ids: Sequence[int] = (0,),
        mask_token_rate: float = 0.8,
        random_token_rate: float = 0.1,
        *,
        seed: int | None = None,
        whole_word: bool = False,
        continuation_token_ids: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        # Lists, ragged tensors and arrays reach the module as they are.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self._hide(
            "_arguments",
            {
                "vocabulary_size": vocabulary_size,
                "mask_selection_rate": mask_selection_rate,
                "mask_token_id": mask_token_id,
                "mask_selection_length": mask_selection_length,
                "unselectable_token_ids": [int(token_id) for token_id in unselectable_token_ids],
                "mask_token_rate": mask_token_rate,
                "random_token_rate": random_token_rate,
                "seed": seed,
                "whole_word": whole_word,
                "continuation_token_ids": (
                    None if continuation_token_ids is None else [int(i) for i in continuation_token_ids]
                ),
            },
        )
        self.build()

    def build(self, inputs_shape: Any = None) -> None:
        if self._module is None:
            self._hold(lambda: Module(**self._arguments, name=self.name))

    def call(self, inputs: Any, *, step: Any = None) -> dict[str, Any]:
        return self.module(inputs, step=step)

    def compute_output_shape(self, inputs_shape: Any) -> dict[str, tuple[int | None, ...]]:
        shape = tuple(inputs_shape)
        masks = (*shape[:-1], self._arguments["mask_selection_length"])
        return {"token_ids": shape, **dict.fromkeys(("mask_positions", "mask_ids", "mask_weights"), masks)}

    def compute_output_spec(self, inputs: Any, *, step: Any = None) -> dict[str, Any]:
        if "int" not in inputs.dtype or len(inputs.shape) not in (1, 2):
            raise ValueError(
                "`inputs` must be token ids, integers of shape [length] or [batch, length]. "
                f"Received: dtype={inputs.dtype}, shape={tuple(inputs.shape)}."
            )
        if not self._arguments["mask_selection_length"]:
            raise ValueError(
                "In a functional model the masks must be dense: give `mask_selection_length`. "
                "Received: mask_selection_length=None. Or apply the layer in tf.data, before the model."
            )
        dtypes = {"token_ids": inputs.dtype, "mask_positions": "int64"}
        dtypes |= {"mask_ids": inputs.dtype, "mask_weights": "float32"}
        shapes = self.compute_output_shape(inputs.shape)
        return {name: keras.KerasTensor(shapes[name], dtype=dtype) for name, dtype in dtypes.items()}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._arguments}
