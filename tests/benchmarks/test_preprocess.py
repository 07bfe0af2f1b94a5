"""The lines that preprocessing is timed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks import preprocess, tokenize
from benchmarks.contest import OURS, Contender
from benchmarks.text_lines import CHARACTERS, documentation_lines


def test_lines_are_real_and_of_the_length_promised() -> None:
    lines = documentation_lines(50)
    assert len(lines) == len(set(lines)) == 50
    assert all(len(line) >= CHARACTERS and "\n" not in line for line in lines)


@pytest.mark.peers
def test_everybody_prepares_all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess, "LINES", 300)
    monkeypatch.setattr(preprocess, "LINES_OF_ROBERTA", 200)
    monkeypatch.setattr(preprocess, "BATCH", 128)

    def untimed(work: str, contenders: Mapping[str, Contender], **options: Any) -> dict[str, int]:
        """Each once: the first start of a pipeline takes seconds, and so does the second."""
        assert f"{options['items']:,} lines" in work
        return {name: contender() for name, contender in contenders.items()}

    monkeypatch.setattr(preprocess, "compete", untimed)
    bert, roberta = preprocess.outcomes(peers=True)
    assert bert == {OURS: 300, "KerasHub": 300, "transformers": 300}
    assert roberta == {OURS: 200, "KerasHub": 200}


@pytest.mark.peers
@pytest.mark.slow
def test_everybody_finds_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LINES", 300), ("LEARNT_FROM", 300), ("SIZE", 1000), ("BATCHES", (1, 64))):
        monkeypatch.setattr(tokenize, name, value)
    found = list(tokenize.outcomes(peers=True))
    assert [set(outcome.milliseconds) - {OURS} for outcome in found] == [
        {"tokenizers"},
        {"tokenizers", "KerasHub"},
        {"tokenizers"},
        {"tokenizers"},
        {"WordPiece"},
    ]
