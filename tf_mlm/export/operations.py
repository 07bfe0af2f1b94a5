"""Which operations an export may use: those that a stock TF-Serving binary registers.

That is TensorFlow's own set, without the ones that call back into Python, and TF-Text's, which
tensorflow_model_server links in. Anything else would fail at load, or at the first call, in production.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2  # type: ignore[import-untyped]

_CALLS_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
# TF-Text's operations without its "TFText>" prefix; they are as old as TF-Text 2.8 or older.
_TF_TEXT_PREFIX = "TFText>"
_TF_TEXT = frozenset(
    {
        "CaseFoldUTF8",
        "FastBertNormalize",
        "FastWordpieceTokenizeWithOffsets",
        "FindSourceOffsets",
        "NormalizeUTF8",
        "NormalizeUTF8WithOffsetsMap",
        "RegexSplitWithOffsets",
        "SentencepieceDetokenizeOp",
        "SentencepieceOp",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
        "SplitMergeTokenizeWithOffsets",
        "UnicodeScriptTokenizeWithOffsets",
        "WhitespaceTokenizeWithOffsets",
        "WordpieceTokenizeWithOffsets",
    }
)


class UnservableOperationError(ValueError):
    """The graph uses an operation that stock TF-Serving does not have."""


def operations(version_directory: Path) -> dict[str, int]:
    """How often each operation occurs in a SavedModel, its functions included."""
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString((version_directory / "saved_model.pb").read_bytes())
    counts: dict[str, int] = {}
    for meta_graph in saved_model.meta_graphs:
        library = meta_graph.graph_def.library.function
        names = {function.signature.name for function in library}
        for nodes in (meta_graph.graph_def.node, *(function.node_def for function in library)):
            for node in nodes:
                if node.op not in names:
                    counts[node.op] = counts.get(node.op, 0) + 1
    return counts


def is_servable(operation: str) -> bool:
    """Whether a stock TF-Serving has this operation.

    Example:
        >>> is_servable("MatMul"), is_servable("PyFunc")
        (True, False)
    """
    if operation in _CALLS_PYTHON:
        return False
    return operation.startswith(_TF_TEXT_PREFIX) or operation in _TF_TEXT or hasattr(tf.raw_ops, operation)


def check_operations(version_directory: Path) -> dict[str, int]:
    """The operations of a SavedModel, when all of them are servable.

    Raises:
        UnservableOperationError: naming those that are not.
    """
    counts = operations(version_directory)
    if refused := sorted(name for name in counts if not is_servable(name)):
        raise UnservableOperationError(
            "An export may only use operations that stock TF-Serving registers (TensorFlow's own, without "
            f"Python callbacks, and TF-Text's). Received: {', '.join(refused)}. "
            "Rewrite the part of the model that uses them."
        )
    return counts
