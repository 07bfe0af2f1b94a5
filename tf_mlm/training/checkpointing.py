"""Checkpoints that are whole or absent: written beside, flushed, renamed, and verified when read.

A checkpoint is a directory `step-00000500/` with the variables in `state.safetensors` and their
step, options and checksum in `manifest.json`. The rename makes both appear at once, so a process
killed at any moment leaves the previous checkpoint in force.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import tensorflow as tf

from tf_mlm.config import ConfigError

STATE, MANIFEST, BEST, TEMPORARY = "state.safetensors", "manifest.json", "best.json", ".writing-"


class CheckpointError(RuntimeError):
    """A checkpoint could not be written. The earlier ones are untouched."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its directory and what its manifest says."""

    directory: Path
    step: int
    options: Mapping[str, Any]
    notes: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run, newest `keep` and best kept.

    Args:
        directory: made when the first one is written.
        keep: how many of the newest stay.
        options: every option that shapes the finished weights, as JSON values. A checkpoint written
            under other ones is refused.

    Example:
        >>> import tempfile, tensorflow as tf
        >>> from pathlib import Path
        >>> from tf_mlm.training.checkpointing import Checkpoints
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
        self.options = json.loads(json.dumps(options))
        self.skipped: list[str] = []

    def save(
        self, variables: Mapping[str, tf.Variable], *, step: int, notes: Mapping[str, Any] | None = None
    ) -> Path:
        """Writes the variables; returns the directory.

        Raises:
            CheckpointError: if the disk is full or not writable; the earlier checkpoints remain.
        """
        target = self.directory / f"step-{step:08d}"
        temporary = self.directory / f"{TEMPORARY}{step:08d}-{os.getpid()}"
        try:
            self._clear_temporaries()
            temporary.mkdir(parents=True)
            data = safetensors.numpy.save({name: _value(variable) for name, variable in variables.items()})
            manifest = {
                "step": step,
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "options": self.options,
                "notes": dict(notes or {}),
            }
            write_durably(temporary / STATE, data)
            write_durably(temporary / MANIFEST, json.dumps(manifest, indent=1).encode())
            if target.exists():  # only a damaged one is written again
                shutil.rmtree(target)
            temporary.rename(target)
            _flush_directory(self.directory)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(
                f"The checkpoint of step {step} could not be written to `{self.directory}`: "
                f"{error.strerror or error}. {self._last_good()} Free some space and run the same command "
                f"again."
            ) from error
        self._prune()
        return target

    def mark_best(self, directory: Path, loss: float) -> bool:
        """Remembers `directory` as the best one if its held-out loss is the lowest so far."""
        best = self._best()
        if best is not None and best["loss"] <= loss:
            return False
        try:
            value = json.dumps({"directory": directory.name, "loss": loss}).encode()
            write_durably(self.directory / (TEMPORARY + BEST), value)
            (self.directory / (TEMPORARY + BEST)).rename(self.directory / BEST)
        except OSError as error:
            raise CheckpointError(
                f"`{self.directory / BEST}` could not be written: {error.strerror or error}."
            ) from error
        self._prune()
        return True

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; damaged ones are named in `skipped`.

        Raises:
            ConfigError: if it was written under other options, naming each with both values.
        """
        self.skipped = []
        for directory in reversed(self._directories()):
            try:
                checkpoint = _verify(directory)
            except (OSError, ValueError, KeyError) as error:
                self.skipped.append(f"`{directory}` is damaged ({error})")
                continue
            self._check_options(checkpoint)
            return checkpoint
        return None

    def restore(self, variables: Mapping[str, tf.Variable]) -> Checkpoint | None:
        """Assigns the newest whole checkpoint to `variables`; None if there is none.

        Raises:
            ConfigError: if it was written under other options or for other variables.
        """
        checkpoint = self.newest()
        if checkpoint is None:
            return None
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
        return checkpoint

    def _check_options(self, checkpoint: Checkpoint) -> None:
        names = sorted(set(checkpoint.options) | set(self.options))
        absent = object()
        changed = [n for n in names if checkpoint.options.get(n, absent) != self.options.get(n, absent)]
        if changed:
            details = "; ".join(
                f"`{name}` was {checkpoint.options.get(name)!r} and is now {self.options.get(name)!r}"
                for name in changed
            )
            raise ConfigError(
                f"A run is resumed with the options it was started with; {details}. Give the old value to "
                f"continue from step {checkpoint.step}, or another output directory (or --fresh) to start "
                f"anew."
            )

    def _directories(self) -> list[Path]:
        return sorted(self.directory.glob("step-*"))

    def _best(self) -> dict[str, Any] | None:
        try:
            best = json.loads((self.directory / BEST).read_text())
            return best if (self.directory / best["directory"]).is_dir() else None
        except (OSError, ValueError, KeyError):
            return None

    def _prune(self) -> None:
        best = self._best()
        for directory in self._directories()[: -self.keep]:
            if best is None or directory.name != best["directory"]:
                shutil.rmtree(directory, ignore_errors=True)

    def _clear_temporaries(self) -> None:
        for leftover in self.directory.glob(f"{TEMPORARY}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)

    def _last_good(self) -> str:
        directories = self._directories()
        return f"The last good one is `{directories[-1]}`." if directories else "There is no earlier one."


def write_durably(path: Path, data: bytes) -> None:
    """Writes and flushes to the disk, so that a rename behind it never shows an empty file."""
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _value(variable: tf.Variable) -> np.ndarray:
    # A distributed variable holds the same value on every replica; reading it takes one of them.
    return np.array(variable.numpy())


def _verify(directory: Path) -> Checkpoint:
    manifest = json.loads((directory / MANIFEST).read_text())
    size = (directory / STATE).stat().st_size
    if size != manifest["bytes"]:
        raise ValueError(f"{STATE} has {size} of {manifest['bytes']} bytes")
    with (directory / STATE).open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != manifest["sha256"]:
            raise ValueError(f"the checksum of {STATE} is wrong")
    return Checkpoint(directory, manifest["step"], manifest["options"], manifest["notes"])
