"""The lines that preprocessing is timed on."""

from __future__ import annotations

import pytest

from benchmarks import preprocess
from benchmarks.contest import OURS


def test_lines_are_real_and_of_the_length_promised() -> None:
    lines = preprocess.documentation_lines(50)
    assert len(lines) == len(set(lines)) == 50
    assert all(len(line) >= preprocess.CHARACTERS and "\n" not in line for line in lines)


@pytest.mark.peers
def test_everybody_prepares_all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess, "LINES", 300)
    monkeypatch.setattr(preprocess, "BATCH", 128)
    (outcome,) = preprocess.outcomes(peers=True)
    assert outcome.items == 300
    assert outcome.milliseconds.keys() == {OURS, "KerasHub", "transformers"}
