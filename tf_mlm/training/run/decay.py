"""Decaying a run from one of its checkpoints, in a run of its own: the plateau itself goes on as it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_mlm.errors import ConfigError
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.checkpointing import CHECKPOINTS, Checkpoint, Checkpoints, whole_checkpoint
from tf_mlm.training.run.result import RUN

OWN = ("steps", "minutes", "schedule", "warmup", "decay", "mask_rate", "decay_from")
"""What a decay may have otherwise than the run that it starts from."""


def starting_checkpoint(path: str | os.PathLike[str], output: Path, config: TrainConfig) -> Checkpoint:
    """The checkpoint at `path`, or the newest of the run at `path`.

    Raises:
        ConfigError: if there is none that is whole, or `config` is not one of a decay.
    """
    if config.schedule != "wsd" or config.steps is None:
        raise ConfigError(
            "A decay from a checkpoint needs `schedule` wsd and the number of its own `steps`. Received: "
            f"schedule={config.schedule!r}, steps={config.steps!r}. Give --schedule wsd --steps N."
        )
    directory = Path(path)
    if directory.resolve() == output.resolve():
        raise ConfigError(
            "A decay is a run of its own: the other one could not go on. Received: "
            f"`{directory}` for both. Choose another output directory."
        )
    found = whole_checkpoint(directory)
    found = found or Checkpoints(directory / RUN / CHECKPOINTS, keep=1, options={}).newest()
    if found is None:
        raise ConfigError(
            "`--decay-from` names a checkpoint, or the output directory of a run that has one. Received: "
            f"`{directory}`, which holds none that is whole. Give one as in "
            "MODEL/training/checkpoints/step-00000500."
        )
    return found


def check_same_run(checkpoint: Checkpoint, options: Mapping[str, Any]) -> None:
    """Refuses to decay a run under other options than it was trained with.

    Raises:
        ConfigError: naming the options that differ.
    """
    names = sorted((set(checkpoint.options) | set(options)) - set(OWN))
    changed = [name for name in names if checkpoint.options.get(name) != options.get(name)]
    if changed:
        details = "; ".join(
            f"`{name}` was {checkpoint.options.get(name)!r} and is now {options.get(name)!r}"
            for name in changed
        )
        raise ConfigError(
            f"A run is decayed with the text and the options that it was trained with; {details}. Give the "
            f"same, but for {', '.join(OWN[:-1])}."
        )
