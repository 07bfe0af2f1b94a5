"""The training contest at a size of seconds."""

from __future__ import annotations

import pytest

from benchmarks import train
from benchmarks.contest import OURS

SMALL = {
    "LAYERS": 1,
    "HIDDEN": 16,
    "HEADS": 2,
    "INNER": 32,
    "BATCH": 4,
    "LENGTH": 16,
    "MASKS": 3,
    "VOCABULARY": 1100,
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(train, name, value)


@pytest.mark.usefixtures("interpreted")
def test_our_steps_are_timed_by_the_token() -> None:
    outcome = next(train.outcomes(peers=False))
    assert outcome.milliseconds[OURS] > 0
    assert outcome.items == train.STEPS * 4 * 16


@pytest.mark.peers
@pytest.mark.slow
def test_both_sides_take_the_same_steps() -> None:
    """The contest itself compares the losses before it times anything."""
    without_dropout = next(train.outcomes(peers=True))
    assert without_dropout.difference < 1e-3
    assert without_dropout.ratios.keys() == {"KerasHub XLA"}
