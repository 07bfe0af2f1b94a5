"""Runs that are stopped while they run."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conformance import models_tf1 as tf1
from conformance.attacks.models import stuck

from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.models.raw_session import RawSession
from tf_mlm.serving.models.session_runner import SessionOptions, SessionRunner


@pytest.fixture(scope="module")
def runner(models: Path):
    made = SessionRunner(models / "shapes", SessionOptions(most_runs=4))
    yield made
    made.close()


def run(runner: SessionRunner, signature: str, call: Call | None, **inputs: np.ndarray) -> list[np.ndarray]:
    about = runner.signatures[signature]
    feeds = {about.inputs[alias].name: value for alias, value in inputs.items()}
    return runner.run(feeds, [info.name for info in about.outputs.values()], call)


def test_an_endless_run_ends_when_its_client_goes_and_the_next_has_its_queue(runner) -> None:
    for _ in range(6):  # more than there are queues
        call, errors = Call(), []

        def endless(call: Call = call, errors: list = errors) -> None:
            try:
                run(runner, "slow", call, rounds=np.int32([2_000_000_000]))
            except ServingError as error:
                errors.append(error.code)

        thread = threading.Thread(target=endless, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while len(runner._canceller._free) == 4 and time.monotonic() < deadline:
            pass
        call.cancel()
        thread.join(60)
        assert errors == [Code.CANCELLED]
        assert len(runner._canceller._free) == 4
    assert run(runner, "serving_default", Call(), x=np.float32([1.0]))[0].tolist() == [1.0]


def test_endless_runs_that_begin_together_all_stop(tmp_path: Path) -> None:
    """Their loops must not hold the threads that the nodes which stop them need."""
    cores = os.cpu_count() or 1
    tf1.write(tmp_path / "stuck", stuck)
    for _ in range(5):
        runner = SessionRunner(tmp_path / "stuck", SessionOptions(most_runs=2 * cores))
        calls, begin, stopped = [Call() for _ in range(cores)], threading.Barrier(cores), []

        def endless(call: Call, runner=runner, begin=begin, stopped=stopped) -> None:
            begin.wait(60)
            with pytest.raises(ServingError):
                run(runner, "serving_default", call, x=np.float32([1.0]))
            stopped.append(call)

        threads = [threading.Thread(target=endless, args=(call,), daemon=True) for call in calls]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while len(runner._canceller._free) > cores and time.monotonic() < deadline:
            pass
        time.sleep(0.2)  # each is in its loop
        for call in calls:
            call.cancel()
        for thread in threads:
            thread.join(60)
        assert len(stopped) == cores
        runner.close()


def test_a_kernel_s_own_error_is_the_one_that_is_told(runner) -> None:
    for call in (None, Call(), Call(60.0)):
        with pytest.raises(ServingError, match="x must not be negative") as error:
            run(runner, "refuse_negative", call, x=np.float32([-1.0]))
        assert error.value.code is Code.INVALID_ARGUMENT
    assert len(runner._canceller._free) == 4


def test_an_error_is_told_by_the_plan_that_is_there(runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another set of nodes to run would be another plan, which takes seconds to prepare for a large graph."""
    plans = set()

    def watched(session: RawSession, options: object, feeds: dict, outputs: list, targets: list) -> object:
        if outputs:  # else it opens or closes a queue
            plans.add((len(feeds), len(outputs), len(targets)))
        return run_session(session, options, feeds, outputs, targets)

    with pytest.raises(ServingError, match="x must not be negative"):
        run(runner, "refuse_negative", Call(), x=np.float32([-1.0]))
    run_session = RawSession.run
    monkeypatch.setattr(RawSession, "run", watched)
    for x in ([-1.0], [1.0]):
        with contextlib.suppress(ServingError):
            run(runner, "refuse_negative", Call(), x=np.float32(x))
    assert plans == {(2, 1, 2)}


def test_while_one_run_prepares_a_plan_others_use_that_of_the_signature(models: Path) -> None:
    runner = SessionRunner(models / "shapes", SessionOptions(most_runs=1))
    about = runner.signatures["echo"]
    whole = tuple(sorted(info.name for info in about.outputs.values()))
    names = (about.outputs["length"].name,)
    assert runner._fetched(names) == (names, True)
    assert runner._fetched(names) == (whole, False)
    assert runner._fetched((about.outputs["text"].name,)) == (whole, False)
    runner._prepared(names)
    assert runner._fetched(names) == (names, False)
    runner.close()


def test_runs_beyond_the_queues_are_run_all_the_same(runner) -> None:
    free, runner._canceller._free = runner._canceller._free, []
    try:
        assert run(runner, "serving_default", Call(), x=np.float32([2.0]))[0].tolist() == [2.0]
    finally:
        runner._canceller._free = free


def test_output_filters_make_a_bounded_number_of_plans(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tf_mlm.serving.models.session_runner._MAX_FILTERED_SETS", 2)
    runner = SessionRunner(models / "shapes", SessionOptions(most_runs=1))
    about = runner.signatures["echo"]
    known = len(runner._sets)
    feeds = {about.inputs["text"].name: np.array([b"abc"], object)}
    names = {alias: info.name for alias, info in about.outputs.items()}
    for wanted in (["length"], ["text"], ["length", "text"], ["text_bytes", "length"], ["length", "length"]):
        found = runner.run(feeds, [names[alias] for alias in wanted], Call())
        assert [value.tolist() for value in found] == [[3] if a == "length" else [b"abc"] for a in wanted]
    assert len(runner._sets) == known + 2
    runner.close()
