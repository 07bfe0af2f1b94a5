"""A TensorFlow session, run through its C entry point.

All that serving takes of TensorFlow's insides is here, but for `tf_mlm.saved_model_loader`;
tests/serving/models/test_raw_session.py says for each part what to do when TensorFlow changes it.

`Session.run` would check shapes in Python first, which costs more than a small model; it has no way to
choose a thread pool per run without a plan per choice, and none to run nodes of a graph that grows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.client import pywrap_tf_session

from tf_mlm.saved_model_loader import load_into

_TIMEOUT_LIMIT = 2**31 - 1


class RawSession:
    """A graph and a session of it.

    Args:
        config: a `ConfigProto`.

    Attributes:
        graph: nodes may be added to it; `extend` tells the session.
    """

    def __init__(self, config: Any) -> None:
        self.graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self.graph, config=config)

    def load(self, directory: Path, tags: Sequence[str]) -> meta_graph_pb2.MetaGraphDef:
        """Imports a SavedModel.

        Raises:
            RuntimeError: when it has no graph with these tags.
        """
        return load_into(self._session, directory, tags)

    def extend(self) -> None:
        """Makes nodes that were added to the graph known to the session."""
        self._session._extend_graph()

    def run(
        self,
        options: Any,
        feeds: dict[Any, Any],
        outputs: Sequence[Any],
        targets: Sequence[Any] = (),
    ) -> list[Any]:
        """Values of the outputs; releases Python's lock.

        Args:
            options: from `run_options` or `caller_options`.
            feeds: what `output` gives, to array.
            outputs: what `output` gives.
            targets: what `operation` gives, run too.

        Raises:
            tf.errors.OpError: of the kernel that failed.
            UnicodeDecodeError: where its message is no text.
        """
        return pywrap_tf_session.TF_SessionRun_wrapper(
            self._session._session, options, feeds, outputs, targets, None
        )

    def close(self) -> None:
        """Gives the memory of variables and compiled functions back."""
        self._session.close()
        del self._session, self.graph


def output(tensor: Any) -> Any:
    """A tensor as a run takes it."""
    return tensor._as_tf_output()


def operation(node: Any) -> Any:
    """A node as a run takes it."""
    return node._c_op


@contextlib.contextmanager
def run_options(seconds: float | None, pool: int) -> Iterator[Any]:
    """The time-out and the thread pool of a run."""
    # Rounded up: a run that ended before its call were told as TensorFlow's own time-out.
    milliseconds = 0 if seconds is None else min(max(0, int(seconds * 1000)) + 1, _TIMEOUT_LIMIT)
    options = config_pb2.RunOptions(timeout_in_ms=milliseconds, inter_op_thread_pool=pool)
    buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
    try:
        yield buffer
    finally:
        pywrap_tf_session.TF_DeleteBuffer(buffer)


def caller_options() -> Any:
    """Options of runs on the caller's own thread, kept for good."""
    options = config_pb2.RunOptions(inter_op_thread_pool=-1)
    return pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
