"""Checkpoints that are whole or absent: written beside, flushed, renamed, and verified when read.

A checkpoint is a directory `step-00000500/` with the variables in `state.safetensors` and their
step, options and checksum in `manifest.json`. The rename makes both appear at once, so a process
killed at any moment leaves the previous checkpoint in force.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import tensorflow as tf

from tf_mlm.durable import appearing, checked, discard, discard_unfinished, read_checked, write_checked
from tf_mlm.errors import ConfigError, TrainingStateError

CHECKPOINTS = "checkpoints"
"""The folder of the checkpoints inside that of their run."""
STATE, MANIFEST, BEST = "state.safetensors", "manifest.json", "best.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its directory and what its manifest says."""

    directory: Path
    step: int
    options: Mapping[str, Any]
    notes: Mapping[str, Any]
    digest: str


class Checkpoints:
    """The checkpoints of one run, newest `keep` and best kept.

    Args:
        directory: made when the first one is written.
        keep: how many of the newest stay.
        options: every option that shapes the finished weights, as JSON values; each manifest records them.

    Example:
        >>> import tempfile, tensorflow as tf
        >>> from pathlib import Path
        >>> from tf_mlm.training.run.checkpointing import Checkpoints
        >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()), keep=1, options={"seed": 1})
        >>> weight = tf.Variable([3.0])
        >>> _ = checkpoints.save({"weight": weight}, step=5)
        >>> weight.assign([0.0]) is None
        False
        >>> checkpoints.restore({"weight": weight}).step, float(weight[0])
        (5, 3.0)
    """

    def __init__(self, directory: Path, *, keep: int, options: Mapping[str, Any]) -> None:
        self.directory = directory
        self.keep = keep
        self.options = options
        self.skipped: list[str] = []

    def save(
        self, variables: Mapping[str, tf.Variable], *, step: int, notes: Mapping[str, Any] | None = None
    ) -> Path:
        """Writes the variables; returns the directory.

        Raises:
            TrainingStateError: if the disk is full or not writable; the earlier checkpoints remain.
        """
        target = self.directory / f"step-{step:08d}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            discard_unfinished(self.directory)
            data = safetensors.numpy.save({name: _value(variable) for name, variable in variables.items()})
            manifest = {
                "step": step,
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "options": self.options,
                "notes": dict(notes or {}),
            }
            with appearing(target) as beside:
                beside.mkdir()
                (beside / STATE).write_bytes(data)
                (beside / MANIFEST).write_bytes(checked(manifest))
                discard(target)  # only a damaged one is written again
        except OSError as error:
            raise TrainingStateError(
                f"The checkpoint of step {step} could not be written to `{self.directory}`: "
                f"{error.strerror or error}. {self._last_good()} Free some space and run the same command "
                f"again."
            ) from error
        self._prune(target)
        return target

    def mark_best(self, directory: Path, loss: float) -> bool:
        """Remembers `directory` as the best one if its held-out loss is a number and the lowest so far."""
        best = self._best()
        if not math.isfinite(loss) or (best is not None and best["loss"] <= loss):
            return False
        try:
            write_checked(self.directory / BEST, {"directory": directory.name, "loss": loss})
        except OSError as error:
            raise TrainingStateError(
                f"`{self.directory / BEST}` could not be written: {error.strerror or error}. Free some "
                "space, or remove what stands there, and run the same command again."
            ) from error
        self._prune(directory)
        return True

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; damaged ones are named in `skipped`."""
        self.skipped = []
        for directory in reversed(self._directories()):
            try:
                return _verify(directory)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                self.skipped.append(f"`{directory}` is damaged ({reason})")
        return None

    def restore(
        self, variables: Mapping[str, tf.Variable], check: Callable[[Checkpoint], None] = lambda found: None
    ) -> Checkpoint | None:
        """Assigns the newest whole checkpoint to `variables`; None if there is none. `check` may refuse it.

        Raises:
            ConfigError: if it was written for other variables.
        """
        checkpoint = self.newest()
        if checkpoint is None:
            return None
        check(checkpoint)
        assign(checkpoint, variables)
        return checkpoint

    def _directories(self) -> list[Path]:
        return sorted(self.directory.glob("step-*"), key=_place)

    def _best(self) -> dict[str, Any] | None:
        try:
            best: dict[str, Any] = read_checked(self.directory / BEST)
        except (OSError, ValueError):
            return None
        return best if (self.directory / best["directory"]).is_dir() else None

    def _prune(self, written: Path) -> None:
        """Removes what is older than the newest to keep; and what seems newer, which was damaged."""
        best = self._best()
        directories = self._directories()
        later = [directory for directory in directories if _place(directory) > _place(written)]
        older = [directory for directory in directories if directory not in later][: -self.keep]
        for directory in (*older, *later):
            if best is None or directory.name != best["directory"]:
                with contextlib.suppress(OSError):
                    discard(directory)

    def _last_good(self) -> str:
        directories = self._directories()
        return f"The last good one is `{directories[-1]}`." if directories else "There is no earlier one."


def assign(checkpoint: Checkpoint, variables: Mapping[str, tf.Variable]) -> None:
    """Gives the variables the values of a checkpoint.

    Raises:
        ConfigError: if it was written for other variables.
    """
    values = safetensors.numpy.load_file(checkpoint.directory / STATE)
    wrong = sorted(set(values) ^ set(variables)) or [
        name for name, variable in variables.items() if values[name].shape != tuple(variable.shape)
    ]
    if wrong:
        raise ConfigError(
            f"`{checkpoint.directory}` must hold exactly the variables of this model. Received "
            f"differences in {', '.join(wrong[:5])}. Choose another output directory."
        )
    for name, variable in variables.items():
        variable.assign(values[name])


def whole_checkpoint(directory: Path) -> Checkpoint | None:
    """The checkpoint in a directory, if it is one that is whole."""
    try:
        return _verify(directory)
    except (OSError, ValueError, KeyError):
        return None


def _place(directory: Path) -> tuple[int, str]:
    return len(directory.name), directory.name  # more digits, more steps


def _value(variable: tf.Variable) -> np.ndarray:
    # A distributed variable holds the same value on every replica; reading it takes one of them.
    return np.array(variable.numpy())


def _verify(directory: Path) -> Checkpoint:
    manifest = read_checked(directory / MANIFEST)
    if directory.name != f"step-{manifest['step']:08d}":
        raise ValueError(f"it holds step {manifest['step']}")
    size = (directory / STATE).stat().st_size
    if size != manifest["bytes"]:
        raise ValueError(f"{STATE} has {size} of {manifest['bytes']} bytes")
    with (directory / STATE).open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != manifest["sha256"]:
            raise ValueError(f"the checksum of {STATE} is wrong")
    return Checkpoint(directory, manifest["step"], manifest["options"], manifest["notes"], manifest["sha256"])
