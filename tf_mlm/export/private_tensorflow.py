"""The parts of TensorFlow that it does not promise to keep, and that the exporter cannot do without.

`tests/export/test_private_tensorflow.py` says of each what to do when it is gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorflow.python.framework import op_def_registry  # type: ignore[import-untyped]
from tensorflow.python.saved_model import fingerprinting_utils  # type: ignore[import-untyped]


def operation_definition(name: str) -> Any:
    """The `OpDef` of an operation, which knows the defaults of its attributes; None where it is unknown.

    Example:
        >>> operation_definition("MatMul").name, operation_definition("NoSuchOperation")
        ('MatMul', None)
    """
    return op_def_registry.get(name)


def write_fingerprint(saved_model: Path) -> None:
    """Writes `fingerprint.pb` anew, after `saved_model.pb` has been changed."""
    fingerprinting_utils.write_fingerprint(str(saved_model))
