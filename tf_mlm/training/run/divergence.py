"""Numbers that are none: found before anything good is replaced by them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tf_mlm.errors import TrainingDivergedError
from tf_mlm.training.run.checkpointing import Checkpoints
from tf_mlm.training.step import METRICS


class FiniteWeights:
    """Watches that variables hold numbers.

    Args:
        variables: as they are before the first step. Some checkpoints forbid a token by a bias of minus
            infinity: those that begin with values that are not finite may keep minus infinity.
    """

    def __init__(self, variables: Mapping[str, tf.Variable]) -> None:
        self._variables = variables
        self._unbounded = {name for name, value in variables.items() if not _is_finite(value)}

    def check(self, done: int, checkpoints: Checkpoints) -> None:
        """Raises `TrainingDivergedError` for the first variable that is not finite after `done` steps."""
        for name, variable in self._variables.items():
            if not _is_finite(variable, but_minus_infinity=name in self._unbounded):
                raise diverged(done, f"`{name}` holds values that are not finite", checkpoints)


def _is_finite(variable: tf.Variable, *, but_minus_infinity: bool = False) -> bool:
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
