"""A time budget turned into a number of steps, measured once and then kept, so that a resume agrees."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_mlm.training.checkpointing import write_durably
from tf_mlm.training.loop import TrainLoop

PLAN = "plan.json"
MEASURE_SECONDS = 6.0
SHARE_FOR_STEPS = 0.94
"""The rest of the time goes to evaluations, checkpoints and a machine that slows down."""
MOST_MEASURED = 2_000


def steps_within(
    minutes: float,
    run_directory: Path,
    loop: TrainLoop,
    batches: Callable[[int, int], Iterator[Any]],
    variables: Mapping[str, tf.Variable],
    *,
    write: bool = True,
) -> int:
    """How many steps fit into `minutes`, compilation and measurement included.

    The first call takes some steps and puts `variables` back to where they were; later calls, of
    the same or of another process, read the number from the run directory.
    """
    plan = run_directory / PLAN
    if plan.exists():
        known = json.loads(plan.read_text())
        if known["minutes"] == minutes:
            return int(known["steps"])
    begun = time.monotonic()
    before = {name: variable.numpy() for name, variable in variables.items()}
    data = batches(0, MOST_MEASURED)
    loop.run(data, 2)  # compiles
    taken, started = 0, time.monotonic()
    while time.monotonic() - started < min(MEASURE_SECONDS, 6 * minutes) and taken + 10 <= MOST_MEASURED - 2:
        loop.run(data, 5)
        taken += 5
    per_step = (time.monotonic() - started) / taken
    for name, variable in variables.items():
        variable.assign(before[name])
    left = 60 * minutes - (time.monotonic() - begun)
    steps = max(1, int(SHARE_FOR_STEPS * left / per_step))
    if write:
        run_directory.mkdir(parents=True, exist_ok=True)
        temporary = plan.with_name(f".{PLAN}")
        write_durably(temporary, json.dumps({"minutes": minutes, "steps": steps}).encode())
        temporary.rename(plan)
    return steps
