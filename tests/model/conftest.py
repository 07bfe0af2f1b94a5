"""The tiny model as a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tf_mlm.model.directory.checkpoint import save
from tf_mlm.model.masked_lm import MaskedLM


@pytest.fixture
def directory(tiny_model: MaskedLM, tmp_path: Path) -> Path:
    """The tiny model, saved."""
    save(tiny_model, tmp_path / "model")
    return tmp_path / "model"
