"""Keras's private state is where it is looked up; if not, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from tf_mlm.layers.keras_state import keras_state

ADVICE = (
    f"Keras {keras.__version__} has no `{{}}` in keras.src.backend.common.global_state any more. Look up "
    "where {} now, and change the name where tf_mlm.layers.keras_state.keras_state is called with it."
)


def test_the_call_that_is_going_on() -> None:
    seen = []

    class Layer(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            seen.append(getattr(keras_state("current_call_ctx"), "entry_layer", None))
            return inputs

    layer = Layer()
    layer(keras.ops.ones([1]))
    assert seen == [layer], ADVICE.format("current_call_ctx", "keras.layers.Layer.__call__ keeps its context")


@pytest.mark.parametrize("name", ["shared_objects/id_to_config_map", "shared_objects/id_to_obj_map"])
def test_the_objects_that_are_being_saved_or_loaded(name: str, tmp_path: Path) -> None:
    seen = []

    @keras.saving.register_keras_serializable("test_keras_state")
    class Layer(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

        def get_config(self) -> dict[str, Any]:
            seen.append(keras_state(name))
            return super().get_config()

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            seen.append(keras_state(name))
            return cls(**config)

    inputs = keras.Input([2])
    keras.Model(inputs, Layer()(inputs)).save(tmp_path / "model.keras")
    keras.saving.load_model(tmp_path / "model.keras")
    advice = ADVICE.format(name, "keras.saving's ObjectSharingScope keeps its maps")
    assert any(isinstance(objects, dict) for objects in seen), advice
