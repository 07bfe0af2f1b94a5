"""What serving takes of TensorFlow's insides, one by one: each failure says what to do about it."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

import tf_mlm.serving
from tf_mlm.serving.models.raw_session import RawSession, caller_options, operation, output, run_options

PRIVATE = re.compile(r"tensorflow\.python|\._c_op\b|_as_tf_output|_extend_graph|\._session\._session")


@contextlib.contextmanager
def advice(what: str, instead: str) -> Iterator[None]:
    """Turns whatever fails into the next step."""
    try:
        yield
    except Exception as error:
        pytest.fail(
            f"TensorFlow {tf.__version__} has changed {what} ({type(error).__name__}: {error}). "
            f"Only tf_mlm/serving/models/raw_session.py uses it: {instead}. Until then, set an upper bound "
            "for tensorflow in pyproject.toml."
        )


def test_a_saved_model_is_imported(models: Path) -> None:
    session = RawSession(config_pb2.ConfigProto())
    loaded = session.load(models / "half_plus_two", ["serve"])
    assert "serving_default" in loaded.signature_def
    session.close()


def test_a_missing_tag_is_told_by_its_words(models: Path) -> None:
    session = RawSession(config_pb2.ConfigProto())
    with pytest.raises(RuntimeError) as error:
        session.load(models / "half_plus_two", ["nothing"])
    assert "MetaGraphDef associated with tags" in str(error.value), (
        "TensorFlow words this error differently: SessionRunner._load, which looks for these words, must too."
    )
    session.close()


@pytest.mark.parametrize("pool", [0, -1])
def test_a_run_goes_to_the_c_entry_point(pool: int) -> None:
    session = RawSession(config_pb2.ConfigProto())
    with session.graph.as_default():
        fed = tf.compat.v1.placeholder(tf.float32, [None])
        doubled = fed * 2
    with advice(
        "`pywrap_tf_session.TF_SessionRun_wrapper`, `TF_NewBufferFromString`, `TF_DeleteBuffer`, "
        "`Tensor._as_tf_output`, `Operation._c_op` or `Session._extend_graph`",
        "read `tensorflow/python/client/session.py`, `BaseSession._call_tf_sessionrun`, for what "
        "`Session.run` itself calls now, and call that; `Session.make_callable` is public and slower",
    ):
        session.extend()
        with run_options(30.0, pool) as options:
            (found,) = session.run(
                options, {output(fed): np.float32([1, 2])}, [output(doubled)], [operation(doubled.op)]
            )
        session.run(caller_options(), {output(fed): np.float32([1])}, [], [operation(doubled.op)])
    np.testing.assert_array_equal(found, [2, 4])
    session.close()


def test_a_session_has_two_thread_pools() -> None:
    with advice(
        "`ConfigProto.session_inter_op_thread_pool` or `RunOptions.inter_op_thread_pool`",
        "tf_mlm/serving/models/thread_pools.py gives a session its pools; without them a run that never ends "
        "can hold up others, so give the session `inter_op_parallelism_threads` for every run there can be",
    ):
        config = config_pb2.ConfigProto()
        config.session_inter_op_thread_pool.add()
        config.session_inter_op_thread_pool.add(num_threads=3, global_name="test-3")
        session = RawSession(config)
        with session.graph.as_default():
            one = tf.constant(1)
        session.extend()
        for pool in (0, 1):
            with run_options(None, pool) as options:
                assert session.run(options, {}, [output(one)]) == [1]
    session.close()


def test_nothing_else_in_serving_uses_tensorflow_s_insides() -> None:
    folder = Path(inspect.getfile(tf_mlm.serving)).parent
    users = {path.name for path in folder.rglob("*.py") if PRIVATE.search(path.read_text(encoding="utf-8"))}
    assert users == {"raw_session.py"}
