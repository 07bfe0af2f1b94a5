"""The programs for another machine, run on this one: the answers are those of transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.device_programs import Programs, Shape, shapes
from tf_mlm.config import ModelConfig

CONFIG = ModelConfig(
    vocab_size=21000, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24
)


@pytest.mark.peers
def test_programs_answer_as_transformers_does(tmp_path: Path) -> None:
    programs, shape = Programs(CONFIG, tmp_path), Shape(4, 16, 3)
    programs.fill(shape, "float32")
    programs.train(shape, "float32", dropout=False)
    programs.finish()
    # No TensorFlow and nothing of this package: Python's own path has to do.
    subprocess.run(
        [sys.executable, tmp_path / "run.py", "--peers", "--calls", "1", "--json", tmp_path / "figures.json"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": ""},
        timeout=300,
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    fill, train = (
        figures[name]["peers"] for name in ("fill_float32_4x16", "train_without_dropout_float32_4x16")
    )
    assert fill["answer"]["log-probabilities differ from float32's by"] < 1e-5
    assert fill["answer"]["same first token"] == 1
    assert fill["head at the masks"]["alone"] > 0
    assert train["answer"]["loss differs by"] < 1e-5
    assert train["answer"]["norm of the gradient differs by"] < 1e-3


def test_shapes_are_read_or_refused() -> None:
    assert shapes(["256x128x8", "1×16×1"]) == [Shape(256, 128, 8), Shape(1, 16, 1)]
    for text in ("256x128", "0x16x1", "a", "1x2x3x4", "1.5x2x3"):
        with pytest.raises(ValueError, match="ROWSxTOKENSxMASKS"):
            shapes([text])
