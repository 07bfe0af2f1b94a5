"""A model that the command line has trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference.command_line import run, write_animals


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_animals(tmp_path_factory.mktemp("corpus") / "animals.txt")


@pytest.fixture(scope="session")
def model_dir(corpus: Path) -> Path:
    output = corpus.parent / "model"
    sizes = ["--hidden-size", 16, "--layers", 1, "--heads", 2, "--vocab-size", 60]
    settings = ["--steps", 3, "--length", 16, "--batch-size", 8, "--held-out", 0.2, "--json"]
    assert run("train", corpus, "--output", output, *sizes, *settings) == 0
    return output
