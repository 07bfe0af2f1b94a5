"""`tf-mlm vocab`: a vocabulary of each kind, and the model that is trained with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reference.command_line import run, write_animals

TINY: tuple[Any, ...] = (
    *("--steps", 1, "--length", 16, "--batch-size", 8),
    *("--hidden-size", 16, "--layers", 1, "--heads", 2),
)
pytestmark = pytest.mark.usefixtures("interpreted")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_animals(tmp_path_factory.mktemp("corpus") / "animals.txt")


def test_vocab_writes_the_size_asked_for(corpus: Path, tmp_path: Path) -> None:
    assert run("vocab", corpus, "--output", tmp_path / "vocab.txt", "--size", 50) == 0
    assert len((tmp_path / "vocab.txt").read_text().splitlines()) == 50


def test_byte_level_vocabularies_are_directories_that_training_takes(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = tmp_path / "vocabulary"
    settings = ("--kind", "byte-bpe", "--size", 280)
    assert run("vocab", corpus, "--output", vocabulary, *settings) == 0
    assert "280 tokens." in capsys.readouterr().out
    assert {path.name for path in vocabulary.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    rest = (*TINY, "--held-out", 0.2, "--vocab", vocabulary)
    assert run("train", corpus, "--output", tmp_path / "model", "--architecture", "roberta", *rest) == 0
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["model_type"], config["vocab_size"]) == ("roberta", 280)
    for arguments, code, message in (
        (
            ("train", corpus, "--output", tmp_path / "bert", *rest),
            1,
            "bert reads a vocabulary of the kind word",
        ),
        (("vocab", corpus, "--output", tmp_path / "v.txt", *settings), 2, "is a directory with a tokenizer"),
        (("vocab", corpus, "--output", tmp_path / "model", *settings), 2, "which holds a model"),
        (
            ("vocab", corpus, "--output", vocabulary, "--architecture", "bert", *settings),
            2,
            "of the kind word",
        ),
        (("vocab", corpus, "--output", vocabulary, "--kind", "byte-bpe", "--size", 60), 1, "at least 261"),
    ):
        assert run(*arguments) == code
        assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("cased", [False, True])
def test_unigram_vocabularies_are_directories_that_training_takes(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cased: bool
) -> None:
    vocabulary = tmp_path / "vocabulary"
    settings = ("--kind", "unigram", "--size", 60, *["--cased"] * cased)
    assert run("vocab", corpus, "--output", vocabulary, *settings) == 0
    assert {path.name for path in vocabulary.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    values = json.loads((vocabulary / "tokenizer.json").read_text())
    assert any("T" in token for token, _ in values["model"]["vocab"][5:]) == cased
    assert run("vocab", corpus, "--output", tmp_path / "v.json", *settings) == 2
    assert "A unigram vocabulary is a directory" in " ".join(capsys.readouterr().err.split())
    if cased:
        rest = (*TINY, "--held-out", 0.2, "--vocab", vocabulary, "--architecture", "albert")
        assert run("train", corpus, "--output", tmp_path / "model", *rest) == 0
        assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "albert"


def test_a_vocabulary_smaller_than_asked_for_says_so(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("--architecture", "modernbert", "--size", 9000)
    assert run("vocab", corpus, "--output", tmp_path / "vocabulary", *settings) == 0
    assert "of 9000 asked for; no more pieces occur twice" in " ".join(capsys.readouterr().out.split())
    values = json.loads((tmp_path / "vocabulary" / "tokenizer_config.json").read_text())
    assert values["mask_token"] == "[MASK]"
