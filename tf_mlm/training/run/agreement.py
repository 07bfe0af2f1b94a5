"""What the workers of a run must agree on before its first step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.errors import ConfigError
from tf_mlm.training.options import TrainConfig

# A resume may change these, but workers that differ in them would wait for each other for ever.
_PACE = (
    "steps_per_call",
    "evaluate_every",
    "checkpoint_every",
    "evaluation_rows",
    "until_top_1",
    "within_minutes",
)


def shared_options(config: TrainConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """What all workers must have in common: the `run_options` of `resume`, and when each does what."""
    return {**options, **{name: getattr(config, name) for name in _PACE}}


def check_agreement(
    strategy: tf.distribute.Strategy,
    options: Mapping[str, Any],
    *,
    hint: str = "Start every worker with the same command.",
) -> None:
    """Fails on every worker, before the first step, if any worker was started with other options.

    Raises:
        ConfigError: naming the options that differ.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    names = sorted(options)
    own = np.array([_digest(options[name]) for name in names], np.int32)
    count = strategy.num_replicas_in_sync

    def others() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return context.all_gather(tf.constant(own)[tf.newaxis], axis=0)

    gathered = strategy.experimental_local_results(strategy.run(tf.function(others, autograph=False)))[
        0
    ].numpy()
    assert gathered.shape == (count, len(names))
    different = [
        name for name, column in zip(names, gathered.T, strict=True) if len(set(column.tolist())) > 1
    ]
    if different:
        own_values = ", ".join(f"{name}={options[name]!r}" for name in different)
        raise ConfigError(
            "All workers must be started with the same options and files. They differ in "
            f"{', '.join(different)}. "
            f"Received on this worker: {own_values}. {hint}"
        )


def from_chief(strategy: tf.distribute.Strategy, value: float) -> float:
    """The value of the first worker, on every worker; exact for whole numbers up to 2²⁴."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return value
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(float(value) if context.replica_id_in_sync_group == 0 else 0.0)
    )
    return float(strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None))


def _digest(value: Any) -> int:
    data = json.dumps(value, sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "big", signed=True)
