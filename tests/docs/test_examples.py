"""The programs of docs/examples, run to their end."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from docs.blocks import ROOT

EXAMPLES = ROOT / "docs" / "examples"
# From a loss of about the logarithm of the vocabulary's size.
LOSSES = {"own_encoder.py": (40, 2.0), "keras_fit.py": (256, 3.9)}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == LOSSES.keys()


@pytest.mark.parametrize("file", sorted(LOSSES))
def test_an_example_learns(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    size, most = LOSSES[file]
    assert runpy.run_path(str(EXAMPLES / file))["main"](size) < most
