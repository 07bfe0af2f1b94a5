"""Checkpoints: whole or absent, verified, pruned, and refused for other variables."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
import tensorflow as tf

from tf_mlm.errors import ConfigError, TrainingStateError
from tf_mlm.training.run.checkpointing import STATE, Checkpoints


def _variables(value: float = 0.0, size: int = 4) -> dict[str, tf.Variable]:
    return {"weight": tf.Variable(tf.fill([size], value)), "step": tf.Variable(0, dtype=tf.int64)}


def _checkpoints(path: Path, **options: object) -> Checkpoints:
    return Checkpoints(path / "checkpoints", keep=2, options=options)


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = _checkpoints(tmp_path)
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.5)):
        checkpoints.mark_best(checkpoints.save(_variables(step), step=step), loss)
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))
    assert names == ["step-00000002", "step-00000004", "step-00000005"]
    restored = _variables()
    assert checkpoints.restore(restored).step == 5
    assert restored["weight"].numpy().tolist() == [5.0] * 4


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing manifest", "torn manifest"])
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    checkpoints = _checkpoints(tmp_path)
    checkpoints.save(_variables(1.0), step=1)
    newest = checkpoints.save(_variables(2.0), step=2)
    state = newest / STATE
    if damage == "truncated":
        state.write_bytes(state.read_bytes()[:-3])
    elif damage == "changed":
        state.write_bytes(state.read_bytes()[:-1] + b"\x7f")
    elif damage == "missing manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest / "manifest.json").write_text('{"step": 2')
    restored = _variables()
    assert checkpoints.restore(restored).step == 1
    assert restored["weight"].numpy()[0] == 1.0
    assert str(newest) in checkpoints.skipped[0]
    # The step is reached again, and its checkpoint written anew.
    checkpoints.save(_variables(3.0), step=2)
    assert checkpoints.restore(restored).step == 2


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    checkpoints = _checkpoints(tmp_path)
    checkpoints.save(_variables(1.0), step=1)
    leftover = tmp_path / "checkpoints" / ".step-00000002.unfinished-99-0a1b2c3d"
    leftover.mkdir()
    (leftover / STATE).write_bytes(b"half")
    assert checkpoints.restore(_variables()).step == 1
    checkpoints.save(_variables(3.0), step=3)
    assert not leftover.exists()


def test_a_full_disk_keeps_the_last_good_one(tmp_path: Path) -> None:
    checkpoints = _checkpoints(tmp_path)
    good = checkpoints.save(_variables(1.0), step=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(
            TrainingStateError, match=r"step 2 could not be written.*The last good one is"
        ) as caught:
            checkpoints.save(_variables(2.0, size=4096), step=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(good) in str(caught.value)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [good.name]
    assert checkpoints.restore(_variables()).step == 1


def test_other_variables_are_refused(tmp_path: Path) -> None:
    checkpoints = _checkpoints(tmp_path)
    checkpoints.save(_variables(), step=1)
    with pytest.raises(ConfigError, match="differences in weight"):
        checkpoints.restore(_variables(size=5))


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    assert _checkpoints(tmp_path).restore(_variables()) is None
