"""What a token costs as texts and batches grow, BERT-base: our own curve, no peers."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import tensorflow as tf

from benchmarks import fill
from benchmarks.contest import OURS, Outcome, compete
from benchmarks.machine import Machine
from tf_mlm.config import ModelConfig
from tf_mlm.model.masked_lm import MaskedLM

LENGTHS, BATCHES = (16, 32, 64, 128, 256, 512), (1, 8, 32)


def outcomes(peers: bool) -> Iterator[Outcome]:
    """One row per shape; its floor counts attention too, so the share reached says what is lost elsewhere."""
    config = ModelConfig()
    model = MaskedLM.from_config(config, seed=0)
    machine = Machine()
    program = tf.function(functools.partial(fill.top, model), jit_compile=True, autograph=False)
    for batch in BATCHES:
        for length in LENGTHS:
            arrays = fill.batch_of(config, batch, length)
            inputs = tuple(tf.constant(array) for array in arrays)
            masks = arrays[-1].shape[1]
            yield compete(
                fill.shape_name(batch, length, masks),
                {OURS: functools.partial(fill.run, program, inputs)},
                rounds=9,
                seconds=4.0,
                floor=functools.partial(
                    machine.milliseconds,
                    fill.flops(config, batch, length, masks),
                    fill.weight_bytes(config),
                ),
                items=batch * length,
            )
