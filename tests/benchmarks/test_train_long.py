"""The contest of long texts at a size of seconds: the same losses on both sides, and the growth."""

from __future__ import annotations

import pytest

from benchmarks import train_long
from benchmarks.contest import OURS, Contender
from tf_mlm.layers.self_attention import SelfAttention
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.step import Batch

SMALL = {
    "STEPS": {32: 2, 64: 1},
    "LONGEST_EAGER": 32,
    "LAYERS": 2,
    "HIDDEN": 16,
    "HEADS": 2,
    "INNER": 24,
    "WINDOW": 16,
    "VOCABULARY": 1100,
    "ROUNDS": 3,
    "SECONDS": 0.0,
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(train_long, name, value)


@pytest.mark.usefixtures("interpreted")
def test_our_steps_are_timed_by_the_token_and_growth_is_a_ratio() -> None:
    *rows, growth = train_long.outcomes(peers=False)
    assert [row.items for row in rows] == [64, 64]
    assert all(row.milliseconds[OURS] > 0 for row in rows)
    assert growth.items == 64  # the tokens of each step, whatever the rows
    assert growth.ratios.keys() == {"tf_mlm, rows of 64"}


def test_rows_of_the_growth_hold_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def recorded(model: MaskedLM, batch: Batch, settings: TrainConfig, steps: int) -> Contender:
        asked.append((*batch.token_ids.shape, settings.batch_size, settings.length, steps))
        windows = {module.window for module in model.submodules if isinstance(module, SelfAttention)}
        assert windows == {8}  # of a layer without, it is None
        return lambda: 0.0

    monkeypatch.setattr(train_long, "steps_of", recorded)
    train_long._growth()
    assert asked == [(2, 32, 2, 32, 1), (1, 64, 1, 64, 1)]


@pytest.mark.peers
@pytest.mark.slow
def test_both_sides_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contest itself compares the losses before it times anything."""
    monkeypatch.setattr(train_long, "TOLERANCE", 2e-5)
    short, long = train_long._contest(32, 2, True), train_long._contest(64, 1, True)
    assert short.ratios.keys() == {
        "transformers sdpa",
        "transformers sdpa, compiled",
        "transformers eager",
    }
    assert long.ratios.keys() == {"transformers sdpa", "transformers sdpa, compiled"}
