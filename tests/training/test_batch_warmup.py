"""Steps of fewer rows at first: how many, which ones, and that no others count."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.batch_warmup import BatchWarmup
from tf_mlm.training.data.dataset import RowOrder, share_of
from tf_mlm.training.data.token_store import Rows
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import parameters
from tf_mlm.training.step import Batch, TrainStep

CONFIG = TrainConfig(batch_size=8, accumulation=4, batch_warmup="2:6", length=6, dropout=0.0)
SIZES = ModelConfig(
    vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, initializer_range=0.3
)


@pytest.mark.parametrize(
    ("text", "batch_size", "accumulation"),
    [("2:6", 8, 4), ("4:7", 20, 5), ("96:1000", 4608, 48), ("1:3", 64, 64), (None, 12, 3)],
)
def test_each_number_of_rows_has_as_many_steps(text: str | None, batch_size: int, accumulation: int) -> None:
    warmup = BatchWarmup.of(text, batch_size=batch_size, accumulation=accumulation)
    first, steps = (batch_size, 1) if text is None else (int(part) for part in text.split(":"))
    sizes = np.arange(first, batch_size, batch_size // accumulation)
    wanted = [sizes[step * len(sizes) // steps] if len(sizes) else batch_size for step in range(steps)]
    wanted += [batch_size] * 5
    assert [warmup.rows(step) for step in range(steps + 5)] == wanted
    before = [warmup.rows_before(step) for step in range(steps + 6)]
    assert before == [0, *np.cumsum(wanted)]
    in_graph = warmup.micro_batches(tf.range(steps + 5, dtype=tf.int64), tf.minimum)
    assert (in_graph * warmup.increment).numpy().tolist() == wanted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_warmup": "16"}, "must be two whole numbers"),
        ({"batch_warmup": "0:10", "accumulation": 4}, "must be two whole numbers"),
        ({"batch_warmup": "16:100"}, r"accumulation=1. Give `accumulation`.* 64 rows"),
        ({"batch_warmup": "24:100", "accumulation": 4}, "Begin with a multiple of 16 below 64"),
        ({"batch_warmup": "64:100", "accumulation": 4}, "Begin with a multiple of 16 below 64"),
        ({"batch_warmup": "16:100", "accumulation": 4, "minutes": 5.0}, "Give `steps`"),
        ({"batch_warmup": 16}, "must be a string"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


def test_no_row_is_left_out() -> None:
    order = RowOrder(Rows(np.zeros([9, 6], np.uint16), np.full(9, 6)), 8, 1, CONFIG.rows_of_steps)
    seen = np.concatenate([order(step)[: CONFIG.rows_of_steps.rows(step)] for step in range(9)])
    assert len(seen) == 2 + 2 + 4 + 4 + 6 + 6 + 8 + 8 + 8
    assert all(sorted(seen[start : start + 9]) == list(range(9)) for start in range(0, 45, 9))


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_parts_of_all_replicas_are_the_first_of_the_batch(workers: int, replicas: int) -> None:
    column = tf.range(8)
    batch = Batch(column[:, tf.newaxis], column, *[column[:, tf.newaxis]] * 4)
    shares = [
        share_of(
            tf.data.Dataset.from_tensors(batch),
            tf.distribute.InputContext(workers, worker, workers * replicas),
            parts=2,
        )
        for worker in range(workers)
    ]
    rows = np.stack([part.lengths for share in shares for part in share])
    assert rows.shape == (workers * replicas, 8 // (workers * replicas))
    assert sorted(rows[:, : rows.shape[1] // 2].ravel()) == [0, 1, 2, 3]


def _step(config: TrainConfig) -> TrainStep:
    model = MaskedLM.from_config(SIZES, seed=1)
    return TrainStep.from_config(
        model, Optimizer(parameters(model), lambda _: tf.constant(0.01), config), config
    )


def _batch(rows: int) -> Batch:
    draw = np.random.default_rng(0)
    ids = tf.constant(draw.integers(0, 20, (8, 6)), tf.int32)
    places = tf.constant(draw.integers(0, 6, (8, 2)), tf.int32)
    hidden = tf.constant(draw.integers(0, 20, (8, 2)), tf.int32)
    return Batch(*(x[:rows] for x in (ids, tf.fill([8], 6), places, hidden, tf.ones([8, 2]))))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_is_that_of_its_own_rows_in_one_program(jit_compile: bool) -> None:
    step = _step(CONFIG)
    warmed = tf.function(step.sums, jit_compile=jit_compile, autograph=False)
    alone = _step(dataclasses.replace(CONFIG, batch_warmup=None, accumulation=1))
    for finished, rows in ((0, 2), (3, 4), (5, 6), (6, 8), (90, 8)):
        step.optimizer.step.assign(finished)
        sums, gradients = warmed(_batch(8))
        wanted_sums, wanted = alone.sums(_batch(rows))
        assert float(sums.weight) == 2 * rows == float(wanted_sums.weight)
        for ours, theirs in zip([*sums, *gradients], [*wanted_sums, *wanted], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert warmed.experimental_get_tracing_count() == 1
