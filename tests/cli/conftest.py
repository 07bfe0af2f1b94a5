"""A model that the command line has trained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from reference.command_line import run, write_animals
from reference.without_xla import without_xla

from tf_mlm.target import in_process


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_animals(tmp_path_factory.mktemp("corpus") / "animals.txt")


@pytest.fixture(scope="session")
def model_dir(corpus: Path, made_once: Callable[..., Path]) -> Path:
    sizes = ["--hidden-size", 16, "--layers", 1, "--heads", 2, "--vocab-size", 60]
    settings = ["--steps", 3, "--length", 16, "--batch-size", 8, "--held-out", 0.2, "--json"]

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            without_xla(patch)
            assert run("train", corpus, "--output", folder / "model", *sizes, *settings) == 0

    return made_once("cli_model", make) / "model"


@pytest.fixture(scope="module")
def loaded_once() -> Iterator[None]:
    """Each model is loaded once for all commands of a file, and each of its signatures is traced once."""
    with pytest.MonkeyPatch.context() as patch:
        for load in (in_process.of_model, in_process.of_export):
            patch.setattr(in_process, load.__name__, functools.cache(load))
        yield
