"""TensorFlow's private parts are there and do what they did; if not, what to do."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

MODULE = "tf_mlm.export.private_tensorflow"
DEFINITIONS = (
    "tensorflow.python.framework.op_def_registry.get gives no OpDef any more. It is asked for the defaults "
    f"of attributes. Change `operation_definition` in {MODULE}: an operation of a graph has an `op_def` "
    "too."
)
FINGERPRINT = (
    "tensorflow.python.saved_model.fingerprinting_utils.write_fingerprint writes no fingerprint any more. "
    f"It is called after the signatures were changed. Change `write_fingerprint` in {MODULE}: look for its "
    "successor beside tf.saved_model.experimental.read_fingerprint, or delete fingerprint.pb, without which "
    "servers load a model too."
)

STATE = (
    "tf.__internal__.tracking.Trackable or tf.types.experimental.GenericFunction is not what SavedModels are "
    f"made of any more. They tell what an export keeps. Change `is_state` in {MODULE}: variables, resources "
    "and assets have public classes of their own, Keras layers too."
)


@pytest.fixture
def private() -> Any:
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        return pytest.fail(f"TensorFlow {tf.__version__}: {error}.\n{DEFINITIONS}\n{FINGERPRINT}\n{STATE}")


def test_definitions_of_operations(private: Any) -> None:
    definition = private.operation_definition("MatMul")
    defaults = {attribute.name: attribute.default_value.b for attribute in definition.attr}
    assert defaults.get("transpose_a") is False, DEFINITIONS
    assert private.operation_definition("NoSuchOperation") is None, DEFINITIONS


def test_fingerprint(private: Any, tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path))
    (tmp_path / "fingerprint.pb").unlink()
    private.write_fingerprint(tmp_path)
    assert (tmp_path / "fingerprint.pb").is_file(), FINGERPRINT
    assert tf.saved_model.experimental.read_fingerprint(str(tmp_path)).saved_model_checksum, FINGERPRINT


def test_state(private: Any) -> None:
    values = tf.lookup.KeyValueTensorInitializer(["x"], [1])
    state = (tf.Variable(1.0), tf.lookup.StaticHashTable(values, 0), tf.saved_model.Asset(__file__))
    assert all(map(private.is_state, state)), STATE
    others = (tf.constant(1.0), tf.Module(), tf.function(abs), None)
    assert not any(map(private.is_state, others)), STATE
