"""Operations that stock TF-Serving lacks are found wherever they hide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tf_mlm.export.operations import UnservableOperationError, check_operations, is_servable


class Doubler(tf.Module):
    def __init__(self, double: Any) -> None:
        super().__init__()
        self.double = tf.function(double, input_signature=[tf.TensorSpec([None], tf.float32)])


@pytest.mark.parametrize("nested", [False, True])
def test_python_callbacks_are_refused_by_name(tmp_path: Path, nested: bool) -> None:
    def call(x: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(lambda value: 2 * value, [x], tf.float32)

    module = Doubler(tf.function(call) if nested else call)
    tf.saved_model.save(module, str(tmp_path), signatures={"double": module.double})
    with pytest.raises(UnservableOperationError, match=r"Received: .*PyFunc"):
        check_operations(tmp_path)


def test_ordinary_operations_are_counted(tmp_path: Path) -> None:
    module = Doubler(lambda x: x + tf.tanh(x))
    tf.saved_model.save(module, str(tmp_path), signatures={"double": module.double})
    assert check_operations(tmp_path)["Tanh"] >= 1


@pytest.mark.parametrize("operation", ["MatMul", "StringLower", "FastWordpieceTokenizeWithOffsets"])
def test_tensorflow_and_tf_text_are_servable(operation: str) -> None:
    assert is_servable(operation)


@pytest.mark.parametrize("operation", ["PyFunc", "EagerPyFunc", "MyCustomOp"])
def test_callbacks_and_strangers_are_not(operation: str) -> None:
    assert not is_servable(operation)
