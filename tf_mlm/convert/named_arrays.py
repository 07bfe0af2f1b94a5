"""Tensors that another system's reader hands out, under Hugging Face's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np


class NamedArrays:
    """A `TensorSource` over functions that make each array when it is asked for.

    Args:
        origin: the file or directory to name in messages.
        arrays: shape and function for each name.
    """

    def __init__(
        self, origin: Path, arrays: Mapping[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]]
    ) -> None:
        self.origin = origin
        self.shapes = {name: shape for name, (shape, _) in arrays.items()}
        self._read = {name: read for name, (_, read) in arrays.items()}

    def read(self, name: str) -> np.ndarray:
        """The tensor in PyTorch's layout."""
        return self._read[name]()

    def file(self, name: str) -> Path:
        """All tensors come from the one origin."""
        return self.origin
