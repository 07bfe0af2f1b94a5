"""Which operations an export may use: those that a stock TF-Serving binary registers.

The promise is a server of 2.19 or newer, whatever TensorFlow is installed here. So what counts is a list
taken from that version, `stock_operations.txt`; `tools/stock_operations.py` wrote it and tells how. Anything
else would fail at load, or at the first call, in production.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2  # type: ignore[import-untyped]

from tf_mlm.errors import UnservableOperationError
from tf_mlm.export.private_tensorflow import operation_definition

_LIST = Path(__file__).with_name("stock_operations.txt")


@functools.cache
def stock_operations() -> dict[str, frozenset[str]]:
    """The operations of a stock TF-Serving 2.19.0, each with the names of its attributes.

    Example:
        >>> sorted(stock_operations()["MatMul"])
        ['T', 'grad_a', 'grad_b', 'transpose_a', 'transpose_b']
    """
    lines = _LIST.read_text(encoding="utf-8").split("\n")
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return {name: frozenset(attributes) for name, *attributes in words}


def _nodes(version_directory: Path) -> Iterator[Any]:
    """Every `NodeDef` of a SavedModel that is no call of one of its own functions."""
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString((version_directory / "saved_model.pb").read_bytes())
    for meta_graph in saved_model.meta_graphs:
        library = meta_graph.graph_def.library.function
        names = {function.signature.name for function in library}
        for nodes in (meta_graph.graph_def.node, *(function.node_def for function in library)):
            yield from (node for node in nodes if node.op not in names)


def operations(version_directory: Path) -> dict[str, int]:
    """How often each operation occurs in a SavedModel, its functions included."""
    counts: dict[str, int] = {}
    for node in _nodes(version_directory):
        counts[node.op] = counts.get(node.op, 0) + 1
    return counts


def is_servable(operation: str) -> bool:
    """Whether a stock TF-Serving has this operation.

    Example:
        >>> is_servable("MatMul"), is_servable("PyFunc")
        (True, False)
    """
    return operation in stock_operations()


def check_operations(version_directory: Path) -> dict[str, int]:
    """The operations of a SavedModel, when all of them are servable.

    An attribute that came after 2.19 is refused, too, unless it has its default: then an older server leaves
    it out and computes the same.

    Raises:
        UnservableOperationError: naming those that are not, and unknown attributes as `Operation.attribute`.
    """
    refused = set()
    for node in _nodes(version_directory):
        if not is_servable(node.op):
            refused.add(node.op)
            continue
        newer = {name for name in node.attr if not name.startswith("_")} - stock_operations()[node.op]
        refused |= {f"{node.op}.{name}" for name in newer if not _is_default(node, name)}
    if refused:
        raise UnservableOperationError(
            "An export may only use operations that a stock TF-Serving 2.19 registers (TensorFlow's own, "
            f"without Python callbacks, and TF-Text's). Received: {', '.join(sorted(refused))}, from "
            f"TensorFlow {tf.__version__}. Rewrite the part of the model that uses them."
        )
    return operations(version_directory)


def _is_default(node: Any, name: str) -> bool:
    definition = operation_definition(node.op)
    defaults = (attribute.default_value for attribute in definition.attr if attribute.name == name)
    return any(default == node.attr[name] for default in defaults)
