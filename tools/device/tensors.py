"""Weights and inputs that are a function of their names and shapes: the same for every program and peer."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np


def weight(name: str, shape: Sequence[int]) -> np.ndarray:
    """A tensor that transformers knows by `name`, float32: near 1 for the scale of a norm, else near 0."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape), np.float32)
    scale = len(shape) == 1 and name.endswith("weight")
    return 0.05 * values + np.float32(scale)


def inputs_of(entry: dict[str, Any]) -> dict[str, np.ndarray]:
    """The inputs of a program: rows full of tokens, masks at places and of tokens that differ."""
    batch, length, masks = entry["batch"], entry["length"], entry["masks"]
    rng = np.random.default_rng(0)
    places = np.stack([rng.choice(length - 2, masks, replace=False) + 1 for _ in range(batch)])
    return {
        "ids": rng.integers(1000, 20000, (batch, length)).astype(np.int32),
        "lengths": np.full(batch, length, np.int32),
        "segments": np.zeros((batch, length), np.int32),
        "positions": np.sort(places).astype(np.int32),
        "targets": rng.integers(1000, 20000, (batch, masks)).astype(np.int32),
        "weights": np.ones((batch, masks), np.float32),
    }
