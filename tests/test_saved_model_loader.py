"""TensorFlow's loader is there and does what it did; if not, what to do."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path

import pytest
import tensorflow as tf

MODULE = "tf_mlm.saved_model_loader"
ADVICE = (
    "tensorflow.python.saved_model.loader_impl.SavedModelLoader loads no SavedModel into a session any more. "
    f"The server loads every model so, and export checks what it wrote. Change {MODULE}: "
    "`tf.compat.v1.saved_model.load(session, tags, directory)` is public and does the same with a warning; "
    "look whether it still opens TF2 exports. Until then, set an upper bound for tensorflow in "
    "pyproject.toml."
)


def test_a_saved_model_answers_in_a_session(tmp_path: Path) -> None:
    try:
        loader = importlib.import_module(MODULE)
    except ImportError as error:
        pytest.fail(f"TensorFlow {tf.__version__}: {error}.\n{ADVICE}")
    root = tf.Module()
    root.count = tf.Variable(3)
    add = tf.function(lambda x: {"sum": root.count + x}, [tf.TensorSpec([], tf.int32, "x")])
    tf.saved_model.save(root, str(tmp_path), signatures={"add": add})
    with contextlib.closing(tf.compat.v1.Session(graph=tf.Graph())) as session:
        served = loader.load_into(session, tmp_path).signature_def["add"]
        assert session.run(served.outputs["sum"].name, {served.inputs["x"].name: 4}) == 7, ADVICE
        with pytest.raises(RuntimeError, match="nothing"):
            loader.load_into(session, tmp_path, ["nothing"])
    assert tf.executing_eagerly(), ADVICE
