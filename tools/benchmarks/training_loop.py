"""Our side of every contest in training: the trainer's own loop, on a batch that is ready in memory."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from benchmarks.contest import Contender
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import parameters
from tf_mlm.training.run.loop import TrainLoop
from tf_mlm.training.step import Batch, TrainStep
from tf_mlm.training.strategy import make_strategy


def steps_of(model: MaskedLM, batch: Batch, settings: TrainConfig, steps: int) -> Contender:
    """A call takes so many steps at the highest rate of `settings` and returns their mean loss."""
    strategy = make_strategy("cpu")
    optimizer = Optimizer(parameters(model), lambda step: tf.constant(settings.learning_rate), settings)
    loop = TrainLoop(TrainStep.from_config(model, optimizer, settings), strategy)
    batches = loop.distribute(tf.data.Dataset.from_tensors(batch).repeat())
    return lambda: loop.run(batches, steps)[:, 0].mean()


def random_batch(vocabulary: int, rows: int, length: int, masks: int) -> Batch:
    """Rows without padding; the same ones for the same sizes."""
    random = np.random.default_rng(0)
    positions = [np.sort(random.permutation(length)[:masks]) for _ in range(rows)]
    return Batch(
        tf.constant(random.integers(1000, vocabulary, [rows, length]), tf.int32),
        tf.fill([rows], length),
        tf.constant(np.stack(positions), tf.int32),
        tf.constant(random.integers(1000, vocabulary, [rows, masks]), tf.int32),
        tf.ones([rows, masks]),
    )
