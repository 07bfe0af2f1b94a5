"""The harness: nobody is timed on a wrong answer, ratios are round by round, the picture shows peers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import contest
from benchmarks.command import geometric_means
from benchmarks.contest import DisagreementError, Outcome, Ratio, compete
from benchmarks.machine import Machine, cores, pin
from benchmarks.picture import draw


class Clock:
    """Time that passes only when somebody sleeps."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def sleeper(self, seconds: float) -> Callable[[], np.ndarray]:
        def work() -> np.ndarray:
            self.sleep(seconds)
            return np.array([1.0])

        return work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(contest, "time", clock)
    return clock


def test_ratios_are_the_peers_time_over_ours(clock: Clock) -> None:
    outcome = compete(
        "sleep", {"tf_mlm": clock.sleeper(0.01), "slow": clock.sleeper(0.03)}, rounds=5, items=10
    )
    ratio = outcome.ratios["slow"]
    assert [ratio.low, ratio.median, ratio.high] == pytest.approx([3, 3, 3])
    assert outcome.milliseconds == pytest.approx({"tf_mlm": 10, "slow": 30})
    assert outcome.items == 10
    assert json.loads(json.dumps(outcome.to_json()))["ratios"]["slow"]["median"] == ratio.median


@pytest.mark.parametrize("wrong", [1.1, float("nan")])
def test_a_wrong_answer_is_not_timed(wrong: float) -> None:
    calls = []

    def cheat() -> np.ndarray:
        calls.append(1)
        return np.array([wrong])

    with pytest.raises(DisagreementError, match="cheat differs from tf_mlm by"):
        compete("cheating", {"tf_mlm": lambda: np.ones(1), "cheat": cheat}, tolerance=1e-3)
    assert len(calls) == 1


def test_time_ends_the_rounds_but_three_are_run() -> None:
    calls = []
    compete("long", {"tf_mlm": lambda: calls.append(1)}, rounds=50, seconds=0.0, tolerance=None)
    assert len(calls) == 1 + 3


def test_calls_that_settle_are_not_timed(clock: Clock) -> None:
    calls = []

    def slow_at_first() -> np.ndarray:
        calls.append(1)
        clock.sleep(0.05 if len(calls) % 3 != 1 else 0.0)  # the one that finds answers, then two of three
        return np.array([1.0])

    outcome = compete("settling", {"tf_mlm": slow_at_first}, rounds=4, settle=2)
    assert len(calls) == 1 + 4 * 3
    assert outcome.milliseconds["tf_mlm"] == 0


def test_the_floor_is_asked_in_every_round_and_its_median_counts() -> None:
    floors = iter([5.0, 1.0, 2.0, 9.0, 3.0])
    outcome = compete("floor", {"tf_mlm": lambda: np.ones(1)}, rounds=5, floor=lambda: next(floors))
    assert outcome.floor == 3.0
    assert compete("no floor", {"tf_mlm": lambda: np.ones(1)}, rounds=1).floor is None


def test_the_machine_is_bound_by_what_takes_longer() -> None:
    machine = Machine()
    flops, read = machine.milliseconds(1e12, 0.0), machine.milliseconds(0.0, 1e12)
    assert flops > 0
    assert read > 0
    assert machine.milliseconds(1e12, 1e12) > 0.2 * max(flops, read)


def outcome_of(work: str, **ratios: float) -> Outcome:
    return Outcome(work, {}, {name: Ratio(one / 2, one, one * 2) for name, one in ratios.items()}, 0.0)


def test_means_are_geometric_and_only_of_peers_in_several_rows() -> None:
    rows = [outcome_of("a", torch=1.0, other=3.0), outcome_of("b", torch=4.0), outcome_of("c")]
    assert geometric_means(rows) == {"torch": (pytest.approx(2.0), 2)}
    assert geometric_means(rows[:1]) == {}


def test_the_picture_is_a_png_and_needs_peers(tmp_path: Path) -> None:
    draw(
        [outcome_of("a, 1×16", torch=0.5), outcome_of("b", torch=4.0, onnx=1.0)], "title", tmp_path / "x.png"
    )
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="Run the benchmark with --peers"):
        draw([Outcome("a", {}, {"tf_mlm graph": Ratio(1, 1, 1)}, 0.0)], "title", tmp_path / "y.png")


def test_pinning_leaves_so_many_cores() -> None:
    before = os.sched_getaffinity(0)
    try:
        assert pin(1) == cores() == 1
    finally:
        os.sched_setaffinity(0, before)
