"""What Keras 3 keeps to itself about the call, the saving or the loading that is going on."""

from __future__ import annotations

import sys
from typing import Any


def keras_state(name: str) -> Any:
    """An attribute of Keras's global state, or None where it has none or Keras is not imported.

    Keras has no public way to ask. `tests/layers/test_keras_state.py` says what to do when it changes.
    """
    state = sys.modules.get("keras.src.backend.common.global_state")
    return None if state is None else state.get_global_attribute(name)
