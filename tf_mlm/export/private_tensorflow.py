"""The parts of TensorFlow that it does not promise to keep, and that the exporter cannot do without.

`tests/export/test_private_tensorflow.py` says of each what to do when it is gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
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


def is_state(value: Any) -> bool:
    """Whether a SavedModel keeps this object beside its graphs: a variable, a lookup table, a Keras layer.

    Modules are not state, they hold some; nor are functions, which are in the graphs where they are called.

    Example:
        >>> is_state(tf.Variable(1.0)), is_state(tf.constant(1.0)), is_state(tf.Module())
        (True, False, False)
    """
    holds_none = (tf.Module, tf.types.experimental.GenericFunction)
    return isinstance(value, tf.__internal__.tracking.Trackable) and not isinstance(value, holds_none)
