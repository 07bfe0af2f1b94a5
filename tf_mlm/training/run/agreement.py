"""The options that shape the finished weights: what a resume must repeat and all workers must share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text.digests import vocabulary_digest
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.token_store import TokenStore
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import named_variables

# What the model says itself, or what only decides how the text was read.
_COVERED = (
    *("architecture", "hidden_size", "layers", "heads", "vocabulary_size", "rope_theta"),
    *("text_field", "line_by_line"),
)
# A resume may change these, but workers that differ in them would wait for each other for ever.
_PACE = (
    "steps_per_call",
    "evaluate_every",
    "checkpoint_every",
    "evaluation_rows",
    "until_top_1",
    "within_minutes",
)


def run_options(
    config: TrainConfig,
    model: ModelConfig,
    vocabulary: Vocabulary,
    store: TokenStore,
    *,
    steps: int,
    start: str | None = None,
) -> dict[str, Any]:
    """Every option that shapes the finished weights, as JSON values.

    `start` is the `weights_digest` of the model that is continued.
    """
    options = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if not field.metadata["resumable"] and field.name not in _COVERED
    }
    sizes = {
        f"model.{k}": v
        for k, v in dataclasses.asdict(dataclasses.replace(model, extra={})).items()
        if k != "extra"
    }
    return {
        **options,
        **sizes,
        "steps": steps,
        "from": start,
        "corpus": store.digest,
        "vocabulary": vocabulary_digest(vocabulary),
        "tensorflow": tf.__version__,
    }


def shared_options(config: TrainConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """What all workers must have in common: `run_options`, and when each of them does what."""
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


def weights_digest(model: tf.Module) -> str:
    """A fingerprint of all variables of a model."""
    digest = hashlib.blake2b(digest_size=8)
    for name, variable in sorted(named_variables(model).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()


def _digest(value: Any) -> int:
    data = json.dumps(value, sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "big", signed=True)
