"""Loads a SavedModel into a session, as TF-Serving does.

The one place that takes TensorFlow's own loader, which it does not promise to keep:
`tests/test_saved_model_loader.py` says what to do when it is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2  # type: ignore[import-untyped]
from tensorflow.python.saved_model.loader_impl import SavedModelLoader  # type: ignore[import-untyped]


def load_into(
    session: tf.compat.v1.Session, directory: Path, tags: Sequence[str] = (tf.saved_model.SERVING,)
) -> meta_graph_pb2.MetaGraphDef:
    """Imports a SavedModel into the session's graph, initialises it, and gives its description.

    Raises:
        RuntimeError: when it has no graph with these tags.
    """
    with session.graph.as_default(), session.as_default():
        return SavedModelLoader(str(directory)).load(session, list(tags))
