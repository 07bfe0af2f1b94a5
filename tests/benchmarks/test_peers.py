"""Each peer, given our weights, computes what we compute, padding included."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import fill
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.model.masked_lm import MaskedLM

pytestmark = pytest.mark.peers
IDS = np.array([[2, 7, 4, 9, 3, 0, 0], [2, 4, 6, 5, 8, 4, 3]], np.int32)
ARRAYS = (IDS, np.array([5, 7], np.int32), np.zeros_like(IDS), np.array([[2, 3], [1, 5]], np.int32))


@pytest.fixture(scope="module")
def model(tiny_model: MaskedLM) -> MaskedLM:
    # Weights small enough for KerasHub's GELU, the tanh approximation, to agree.
    config = dataclasses.replace(tiny_model.config, initializer_range=0.1)
    return MaskedLM.from_config(config, seed=3, preprocessor=tiny_model.preprocessor)


@pytest.fixture(scope="module")
def directory(model: MaskedLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save(model, path)
    return path


@pytest.fixture(scope="module")
def expected(model: MaskedLM) -> np.ndarray:
    return fill.top(model, *(tf.constant(array) for array in ARRAYS)).numpy()


def test_transformers(directory: Path, expected: np.ndarray) -> None:
    from benchmarks.hugging_face_peer import HuggingFacePeer

    answer = HuggingFacePeer(directory).fill(*ARRAYS, top=fill.TOP)()
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_onnx_runtime(directory: Path, expected: np.ndarray, model: MaskedLM) -> None:
    from benchmarks.onnx_runtime_peer import OnnxRuntimePeer

    peer = OnnxRuntimePeer(directory, top=fill.TOP)
    np.testing.assert_allclose(peer.fill(*ARRAYS)(), expected, atol=1e-5)
    lines = ["a [MASK] ran", "the cat sat on the [MASK] .", "[MASK]"]
    np.testing.assert_allclose(peer.text(2)(lines), text_scores(model, lines), atol=1e-5)


def test_onnx_runtime_in_int8(directory: Path, expected: np.ndarray) -> None:
    from benchmarks.onnx_runtime_peer import OnnxRuntimePeer

    answer = OnnxRuntimePeer(directory, top=fill.TOP, int8=True).fill(*ARRAYS)()
    difference = np.abs(answer - expected).max()
    assert 1e-5 < difference < fill.ROUNDED_TOLERANCE  # rounded, and of the same model


@pytest.mark.parametrize("jit", [True, False])
def test_keras_hub(directory: Path, expected: np.ndarray, jit: bool) -> None:
    from benchmarks.keras_hub_peer import KerasHubPeer

    peer = KerasHubPeer(directory, jit=jit)
    np.testing.assert_allclose(peer.fill(*ARRAYS, top=fill.TOP)(), expected, atol=1e-3)


def test_keras_hub_from_text(directory: Path, model: MaskedLM) -> None:
    from benchmarks.keras_hub_peer import KerasHubPeer

    peer = KerasHubPeer(directory, jit=False)
    lines = ["a [MASK] ran", "the cat sat on the [MASK] .", "[MASK]"]
    scores = peer.text(directory, 2, 16, fill.TOP)(lines)
    np.testing.assert_allclose(scores, text_scores(model, lines), atol=1e-3)


def text_scores(model: MaskedLM, lines: list[str]) -> Any:
    assert model.preprocessor is not None
    inputs = model.preprocessor(lines)
    return fill.top(model, *inputs[:4]).numpy()[:, 0]
