"""Learning-rate schedules against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.training.options import TrainConfig
from tf_mlm.training.schedule import learning_rate_schedule

STEPS, WARMUP, DECAY = 50, 10, 20


def _twin(kind: str, step: int) -> float:
    if step < WARMUP:
        return (step + 1) / WARMUP
    progress = (step - WARMUP) / (STEPS - WARMUP)
    over = max(0.0, (step - (STEPS - DECAY)) / DECAY)
    if kind == "wsd":
        return 1 - math.sqrt(over)
    return {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2, "constant": 1.0}[kind]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "wsd"])
@pytest.mark.parametrize("as_variable", [False, True])
def test_schedules(kind: str, as_variable: bool) -> None:
    config = TrainConfig(learning_rate=0.3, schedule=kind, warmup=WARMUP / STEPS, decay=DECAY / STEPS)
    total = tf.Variable(STEPS, dtype=tf.int64) if as_variable else STEPS
    rate = learning_rate_schedule(config, total)
    rates = [float(rate(tf.constant(step, tf.int64))) for step in range(STEPS)]
    np.testing.assert_allclose(rates, [0.3 * _twin(kind, step) for step in range(STEPS)], rtol=1e-4)


def test_no_warm_up() -> None:
    rate = learning_rate_schedule(TrainConfig(learning_rate=1.0, warmup=0.0), 4)
    assert [float(rate(tf.constant(step))) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_a_decay_begins_where_it_is_told_to() -> None:
    config = TrainConfig(learning_rate=1.0, schedule="wsd", warmup=0.0)
    rate = learning_rate_schedule(config, 120, decay_start=100)
    rates = [float(rate(tf.constant(step))) for step in (50, 100, 105, 119)]
    np.testing.assert_allclose(rates, [1.0, 1.0, 0.5, 1 - math.sqrt(0.95)], rtol=1e-5)
