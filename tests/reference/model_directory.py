"""Changing a model directory by hand, as damage and other tools do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy

from tf_mlm.model.masked_lm import MaskedLM

Tensors = dict[str, np.ndarray]


def edit_tensors(directory: Path, change: Callable[[Tensors], Tensors | None]) -> None:
    path = directory / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(change(tensors) or tensors, path, metadata={"format": "pt"})


def edit_json(directory: Path, name: str = "config.json", **changes: object) -> None:
    values = json.loads((directory / name).read_text())
    (directory / name).write_text(json.dumps({**values, **changes}))


def assert_same(ours: MaskedLM, other: MaskedLM) -> None:
    for a, b in zip(ours.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.name)
