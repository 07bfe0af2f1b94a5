"""The learning rate as a function of the step: linear warm-up, then one of four courses."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from tf_mlm.training.options import TrainConfig


def learning_rate_schedule(
    config: TrainConfig, steps: int | tf.Variable, *, decay_start: int | None = None
) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function from the number of finished steps (integer []) to the rate of the next one (float32 []).

    `steps`, the length of the run, may be a variable: then a compiled step need not be compiled
    again when it changes. The warm-up climbs in equal parts and never starts at 0, so that the
    first step already counts; linear, cosine and wsd reach 0 one step after the last.

    `wsd` (warm-up, stable, decay) keeps the rate until the last `config.decay` of the steps, or until
    `decay_start`, and then lets it fall as 1 - √ of the part of them that is over: a run can be decayed from
    any of its checkpoints (Hägele et al., https://arxiv.org/abs/2405.18392, section 3.2).

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.training.options import TrainConfig
        >>> from tf_mlm.training.schedule import learning_rate_schedule
        >>> rate = learning_rate_schedule(TrainConfig(learning_rate=1.0, warmup=0.2), steps=10)
        >>> [round(float(rate(tf.constant(step))), 3) for step in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.125]
    """

    def rate(step: tf.Tensor) -> tf.Tensor:
        step, total = tf.cast(step, tf.float32), tf.cast(steps, tf.float32)
        warmup = tf.round(config.warmup * total)
        decay = tf.maximum(1.0, total - warmup)
        progress = tf.clip_by_value((step - warmup) / decay, 0.0, 1.0)
        if config.schedule == "linear":
            factor = 1.0 - progress
        elif config.schedule == "cosine":
            factor = 0.5 * (1.0 + tf.cos(math.pi * progress))
        elif config.schedule == "wsd":
            start = total - tf.round(config.decay * total) if decay_start is None else float(decay_start)
            over = tf.clip_by_value((step - start) / tf.maximum(1.0, total - start), 0.0, 1.0)
            factor = 1.0 - tf.sqrt(over)
        else:
            factor = tf.ones_like(progress)
        factor = tf.where(step < warmup, (step + 1.0) / tf.maximum(warmup, 1.0), factor)
        return config.learning_rate * factor

    return rate
