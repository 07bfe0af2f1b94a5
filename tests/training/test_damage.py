"""Every file of a run damaged in every way: the same bits at the end, or one line that names the file."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tf_mlm.durable import discard
from tf_mlm.errors import ConfigError, TrainingStateError
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.preemption import Preemption
from tf_mlm.training.run.report import Report
from tf_mlm.training.run.trainer import train

FILES = (
    "checkpoints/best.json",
    "checkpoints/step-00000002/manifest.json",
    "checkpoints/step-00000002/state.safetensors",
    "checkpoints/step-00000004/manifest.json",
    "checkpoints/step-00000004/state.safetensors",
    "corpus.json",
    "curve.png",
    "log.jsonl",
    "tokens/held_out.ids",
    "tokens/held_out.lengths",
    "tokens/index.json",
    "tokens/train.ids",
    "tokens/train.lengths",
    "vocabulary.json",
)
DIRECTORIES = (
    "checkpoints",
    "checkpoints/step-00000002",
    "checkpoints/step-00000004",
    "tensorboard",
    "tokens",
)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x04
    path.write_bytes(data)


def _replace(path: Path, by: Callable[[Path], object]) -> None:
    discard(path)
    by(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut by one": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "flipped": _flip,
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\xff\x00"),
    "null": lambda path: path.write_text("null"),
    "list": lambda path: path.write_text("[]"),
    "object": lambda path: path.write_text("{}"),
    "number": lambda path: path.write_text("3"),
    "string": lambda path: path.write_text('"x"'),
    "removed": lambda path: path.unlink(),
    "directory": lambda path: _replace(path, Path.mkdir),
    "unreadable": lambda path: _replace(path, lambda path: path.symlink_to(path)),  # also for root
}
pytestmark = pytest.mark.usefixtures("all_interpreted")
BLOCKING = ("directory", "unreadable", "file")
"""What stands in the way is not ours to remove."""


@pytest.fixture(scope="module")
def config(small: TrainConfig) -> TrainConfig:
    return dataclasses.replace(
        small, steps=6, steps_per_call=2, checkpoint_every=2, evaluate_every=2, evaluation_rows=8
    )


@pytest.fixture(scope="module")
def finished(corpus: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("finished")
    train([corpus], output, config, compile=False)
    return (output / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def stopped(corpus: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was told to stop at step 4 of 6."""
    output = tmp_path_factory.mktemp("stopped")
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        steps = Report.steps
        patch.setattr(
            Report, "steps", lambda self, step, *rest: (seen.append(step), steps(self, step, *rest))
        )
        patch.setattr(Preemption, "requested", lambda self: seen[-1] >= 4)
        assert train([corpus], output, config, compile=False).steps == 4
    return output


def _resume(corpus: Path, config: TrainConfig, output: Path, finished: bytes, damaged: str) -> bool:
    """Whether the run was resumed, to the same bits; else there was one line, of the right kind."""
    refused = None
    try:
        assert train([corpus], output, config, compile=False).finished
    except (ConfigError, TrainingStateError) as error:
        refused = str(error)
    if refused is not None:
        assert str(output / "training" / damaged) in refused
        assert len(refused.splitlines()) == 1
        assert not (output / "model.safetensors").exists()
        return False
    assert (output / "model.safetensors").read_bytes() == finished
    return True


def test_these_are_all_files_of_a_run(stopped: Path) -> None:
    training = stopped / "training"
    found = {path.relative_to(training).as_posix() for path in training.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith("tensorboard/")} == set(FILES)


def _every_case() -> list[object]:
    """All pairs of file and damage; each file with one and each damage with one are quick."""
    cases = []
    for row, name in enumerate(FILES):
        for column, damage in enumerate(DAMAGES):
            quick = (column - 3 * row) % len(DAMAGES) == 0
            cases.append(pytest.param(name, damage, marks=() if quick else pytest.mark.slow))
    return cases


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize(("name", "damage"), _every_case())
def test_a_damaged_file(
    corpus: Path, config: TrainConfig, finished: bytes, stopped: Path, tmp_path: Path, name: str, damage: str
) -> None:
    output = Path(shutil.copytree(stopped, tmp_path / "run"))
    DAMAGES[damage](output / "training" / name)
    resumed = _resume(corpus, config, output, finished, name)
    assert resumed or damage in BLOCKING


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, "removed") for name in DIRECTORIES),
        ("tokens", "file"),
        *(pytest.param(name, "file", marks=pytest.mark.slow) for name in DIRECTORIES if name != "tokens"),
    ],
)
def test_a_damaged_directory(
    corpus: Path, config: TrainConfig, finished: bytes, stopped: Path, tmp_path: Path, name: str, damage: str
) -> None:
    output = Path(shutil.copytree(stopped, tmp_path / "run"))
    path = output / "training" / name
    discard(path)
    if damage == "file":
        path.write_text("no directory")
    resumed = _resume(corpus, config, output, finished, name)
    assert resumed or damage in BLOCKING
