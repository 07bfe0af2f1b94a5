"""Kill -9, SIGTERM, damaged checkpoints, a full disk: what a run survives, and how exactly."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from reference.without_xla import without_xla

from tf_mlm.errors import ConfigError
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.trainer import train

DEADLINE = 600
Start = Callable[..., "subprocess.Popen[str]"]


def _weights(directory: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(directory / "model.safetensors")


def _assert_same_bits(first: Path, second: Path) -> None:
    ours, theirs = _weights(first), _weights(second)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.tobytes() == theirs[name].tobytes(), name


def _arguments(corpus: Path, output: Path, config: TrainConfig) -> str:
    settings: dict[str, Any] = {
        "files": [str(corpus)],
        "output": str(output),
        "config": dataclasses.asdict(config),
    }
    return json.dumps(settings)


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def config(small: TrainConfig) -> TrainConfig:
    # Long enough that a signal arrives while it is running.
    return dataclasses.replace(small, layers=1, steps=400, checkpoint_every=20, evaluate_every=200)


@pytest.fixture(scope="module")
def uninterrupted(corpus: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted")
    assert train([corpus], output, config).finished
    return output


def _kill_after(step: int, corpus: Path, output: Path, config: TrainConfig, start: Start) -> bool:
    """Kills a run once it has logged `step`; False if it was done before that."""
    process = start(_arguments(corpus, output, config))
    log = output / "training" / "log.jsonl"

    def reached() -> bool:
        lines = log.read_text().splitlines() if log.exists() else []
        try:
            return bool(lines) and json.loads(lines[-1])["step"] >= step
        except ValueError:
            return False

    _wait_for(lambda: reached() or process.poll() is not None, process)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_five_kills_at_random_moments_end_with_the_same_bits(
    corpus: Path, config: TrainConfig, uninterrupted: Path, tmp_path: Path, start_training: Start
) -> None:
    draw = np.random.default_rng(5)
    for step in sorted(draw.integers(1, 380, 5)):
        assert _kill_after(int(step), corpus, tmp_path, config, start_training)
    assert train([corpus], tmp_path, config).finished
    _assert_same_bits(uninterrupted, tmp_path)


def test_a_run_that_is_stopped_and_then_killed_ends_with_the_same_bits(
    corpus: Path, config: TrainConfig, uninterrupted: Path, tmp_path: Path, start_training: Start
) -> None:
    """SIGTERM saves and exits with 0; what goes on from there is killed between two checkpoints."""
    process = start_training(_arguments(corpus, tmp_path, config))
    log = tmp_path / "training" / "log.jsonl"
    _wait_for(lambda: log.exists() and log.stat().st_size > 0, process)
    process.terminate()
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    stopped = json.loads(out)
    assert not stopped["finished"]
    assert (tmp_path / "training" / "checkpoints" / f"step-{stopped['steps']:08d}").is_dir()
    assert _kill_after(stopped["steps"] + 27, corpus, tmp_path, config, start_training)
    assert not (tmp_path / "model.safetensors").exists()
    assert train([corpus], tmp_path, config).finished
    _assert_same_bits(uninterrupted, tmp_path)


@pytest.fixture(scope="module")
def short(small: TrainConfig) -> TrainConfig:
    return dataclasses.replace(small, steps=5)


@pytest.fixture(scope="module")
def finished(corpus: Path, short: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that took all of its few steps."""
    output = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        without_xla(patch)
        assert train([corpus], output, short).finished
    return output


@pytest.mark.usefixtures("interpreted")
def test_a_finished_run_is_not_trained_again(corpus: Path, short: TrainConfig, finished: Path) -> None:
    before = _weights(finished)
    again = train([corpus], finished, short)
    assert again.finished
    assert again.evaluation is not None
    assert all(np.array_equal(before[name], value) for name, value in _weights(finished).items())


@pytest.mark.usefixtures("interpreted")
def test_options_that_would_make_the_resume_wrong_are_refused_by_name(
    corpus: Path, short: TrainConfig, finished: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"`learning_rate` was 0\.003 and is now 0\.001"):
        train([corpus], output, dataclasses.replace(short, learning_rate=1e-3))
    other = tmp_path / "other.txt"
    other.write_text(corpus.read_text() + "\n\none more cat sees the house .\n")
    with pytest.raises(
        ConfigError, match=r"the text has changed \(`.*animals\.txt` is gone, `.*other\.txt` is new\)"
    ):
        train([other], output, short)
    # What does not change the weights may change.
    kept = dataclasses.replace(short, keep_checkpoints=7)
    assert train([corpus], output, kept).finished
    other_rate = dataclasses.replace(short, learning_rate=1e-3)
    assert train([corpus], output, other_rate, fresh=True).finished
