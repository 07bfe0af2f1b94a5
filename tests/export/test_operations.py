"""Operations that stock TF-Serving lacks are found wherever they hide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tf_mlm.errors import UnservableOperationError
from tf_mlm.export.operations import check_operations, is_servable, stock_operations
from tf_mlm.export.private_tensorflow import operation_definition


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


def set_attribute(directory: Path, operation: str, **attributes: bool) -> None:
    """Adds attributes to the first node of an operation in a SavedModel."""
    file = directory / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    node = next(node for function in functions for node in function.node_def if node.op == operation)
    for name, value in attributes.items():
        node.attr[name].b = value
    file.write_bytes(saved.SerializeToString())


def test_an_attribute_that_a_2_19_server_does_not_know_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Doubler(lambda x: tf.matmul(x[tf.newaxis], x[:, tf.newaxis]))
    tf.saved_model.save(module, str(tmp_path), signatures={"double": module.double})
    check_operations(tmp_path)
    # As it would be for an attribute that came with a newer TensorFlow, which has a default for it.
    older = {name: known - {"grad_a"} for name, known in stock_operations().items()}
    monkeypatch.setattr("tf_mlm.export.operations.stock_operations", lambda: older)
    set_attribute(tmp_path, "MatMul", grad_a=False)
    check_operations(tmp_path)
    set_attribute(tmp_path, "MatMul", grad_a=True)
    with pytest.raises(UnservableOperationError, match=r"Received: MatMul\.grad_a,"):
        check_operations(tmp_path)


def test_the_list_does_not_depend_on_the_tensorflow_that_is_installed() -> None:
    # Registered by newer TF-Text packages, and not linked into a 2.19 server.
    import tensorflow_text  # noqa: F401

    for name in ("TFText>Utf8Binarize", "TFText>RoundRobinTrim"):
        assert operation_definition(name) is not None, "no longer there: take another one"
        assert not is_servable(name)
    assert is_servable("SimpleMLInferenceOpWithHandle")  # linked into every server, and not installed here
    assert operation_definition("SimpleMLInferenceOpWithHandle") is None


@pytest.mark.parametrize("operation", ["MatMul", "StringLower", "FastWordpieceTokenizeWithOffsets"])
def test_tensorflow_and_tf_text_are_servable(operation: str) -> None:
    assert is_servable(operation)


@pytest.mark.parametrize("operation", ["PyFunc", "EagerPyFunc", "MyCustomOp"])
def test_callbacks_and_strangers_are_not(operation: str) -> None:
    assert not is_servable(operation)
