"""Numbers that are none: found before anything good is replaced by them."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tf_mlm.errors import TrainingDivergedError
from tf_mlm.training.run.checkpointing import Checkpoints
from tf_mlm.training.step import METRICS


def is_finite(variable: tf.Variable, *, but_minus_infinity: bool = False) -> bool:
    """Whether a variable holds numbers only; some biases forbid tokens by minus infinity."""
    if not variable.dtype.is_floating:
        return True
    allowed = tf.math.is_finite(variable)
    if but_minus_infinity:
        allowed |= tf.equal(variable, -math.inf)
    return bool(tf.reduce_all(allowed))


def check_metrics(metrics: np.ndarray, done: int, checkpoints: Checkpoints) -> None:
    """Raises `TrainingDivergedError` for the first of the steps after `done` that is not finite."""
    bad = np.flatnonzero(~np.isfinite(metrics).all(axis=1))
    if len(bad):
        values = ", ".join(f"{name}={value:g}" for name, value in zip(METRICS, metrics[bad[0]], strict=True))
        raise diverged(done + int(bad[0]) + 1, values, checkpoints)


def diverged(step: int, what: str, checkpoints: Checkpoints) -> TrainingDivergedError:
    """What to raise, with the last good checkpoint and a hint."""
    good = checkpoints.newest()
    return TrainingDivergedError(
        f"Training diverged at step {step}: {what}. "
        + (f"The last good checkpoint is `{good.directory}`. " if good else "There is no checkpoint yet. ")
        + "Lower `learning_rate`, lengthen `warmup` or lower `clip_norm`, and start into another directory."
    )
