"""One family after the other: its model directory, and text for it to work on."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference.families import Family

import tf_mlm


@pytest.fixture(scope="module")
def directory(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with random weights and a tokenizer of the family."""
    path = tmp_path_factory.mktemp(family.name)
    family.write_model(path)
    return path


@pytest.fixture(scope="module")
def model(directory: Path) -> tf_mlm.MaskedLM:
    return tf_mlm.load(directory)


@pytest.fixture(scope="module")
def corpus(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 documents."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n\n".join(f"{family.text[n % 40 :]} {n}" for n in range(60)))
    return path
