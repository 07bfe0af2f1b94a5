"""The whole training step, and the memory it takes where the vocabulary is large.

A row of BERT with 4 layers of 512, batch 32×128, 20 masks: forward, backward and AdamW, both sides
under XLA, in the loop that each side documents (`TrainLoop`, `fit`), on the same weights and batch,
with the batch ready in memory. Losses of the first steps must agree before anything is timed.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks import interpreter, train_long
from benchmarks.contest import OURS, Contender, Outcome, Ratio, compete
from benchmarks.training_loop import random_batch, steps_of
from tf_mlm.config import ModelConfig
from tf_mlm.model.directory.checkpoint import load
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import parameters
from tf_mlm.training.step import Batch

LAYERS, HIDDEN, HEADS, INNER = 4, 512, 8, 2048
BATCH, LENGTH, MASKS = 32, 128, 20
VOCABULARY, LARGE_VOCABULARY = 30522, 250_000
STEPS = 3
RATE = 1e-4
# Keras adds epsilon before the bias correction and this package behind it; next to none is the same to both.
SETTINGS = TrainConfig(batch_size=BATCH, length=LENGTH, clip_norm=0.0, epsilon=1e-8, learning_rate=RATE)


def outcomes(peers: bool) -> Iterator[Outcome]:
    """Two rows of speed, without and with dropout, one of memory; then those of long texts."""
    for dropout, tolerance in ((0.0, 1e-3), (0.1, 0.3)):
        batch = random_batch(VOCABULARY, BATCH, LENGTH, MASKS)
        contenders: dict[str, Contender] = {}
        if peers:
            theirs = _keras_hub_model(VOCABULARY, dropout)
            contenders[OURS] = steps_of(_converted(theirs), batch, SETTINGS, STEPS)
            contenders["KerasHub XLA"] = _keras_hub(theirs, batch)
        else:
            contenders[OURS] = steps_of(_model(VOCABULARY, dropout), batch, SETTINGS, STEPS)
        yield compete(
            f"{STEPS} training steps, 4×512, {BATCH}×{LENGTH}, {MASKS} masks, dropout {dropout}",
            contenders,
            rounds=7,
            seconds=45.0,
            tolerance=tolerance,  # of the loss; with dropout each side drops other elements
            items=STEPS * BATCH * LENGTH,
        )
        del contenders
        gc.collect()
    yield _memory(["tf_mlm", "KerasHub XLA"] if peers else ["tf_mlm"])
    yield from train_long.outcomes(peers)


def _model(vocabulary: int, dropout: float) -> MaskedLM:
    config = ModelConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        hidden_act="gelu_new",
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=LENGTH,
    )
    return MaskedLM.from_config(config, seed=0)


def _keras_hub_model(vocabulary: int, dropout: float) -> Any:
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=vocabulary,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=HIDDEN,
        intermediate_dim=INNER,
        max_sequence_length=LENGTH,
        dropout=dropout,
    )
    return keras_hub.models.BertMaskedLM(backbone, preprocessor=None)


def _converted(theirs: Any) -> MaskedLM:
    """A KerasHub model as one of ours."""
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "converted")
        theirs.save_to_preset(str(source))
        command = [sys.executable, "-m", "tf_mlm", "convert", str(source), str(target)]
        subprocess.run(command, check=True, capture_output=True)
        return load(target)


def _keras_hub(model: Any, batch: Batch) -> Contender:
    """As many steps of `fit`; the mean loss."""
    import keras

    optimizer = keras.optimizers.AdamW(
        RATE,
        weight_decay=SETTINGS.weight_decay,
        beta_1=SETTINGS.beta_1,
        beta_2=SETTINGS.beta_2,
        epsilon=SETTINGS.epsilon,
    )
    vectors = [w for w in model.trainable_weights if w.path.endswith(("bias", "gamma", "beta"))]
    optimizer.exclude_from_weight_decay(var_list=vectors)
    # Nothing but the loss is asked of it, though our step counts hits as well.
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=optimizer,
        weighted_metrics=[],
        jit_compile=True,
    )
    inputs = {
        "token_ids": batch.token_ids,
        "segment_ids": tf.zeros_like(batch.token_ids),
        "padding_mask": tf.ones_like(batch.token_ids),
        "mask_positions": batch.mask_positions,
    }
    batches = tf.data.Dataset.from_tensors((inputs, batch.mask_ids)).repeat()
    return lambda: model.fit(batches, steps_per_epoch=STEPS, verbose=0).history["loss"][0]


def _memory(contenders: list[str]) -> Outcome:
    """Peak memory of each in a process of its own, above what importing both packages takes.

    The floor is what exact AdamW holds between two steps: every parameter and its two moments.
    """
    megabytes, losses, floor = {}, {}, None
    for name in contenders:
        found = interpreter.call("benchmarks.train.print_peak", name)
        megabytes[name], losses[name] = found["megabytes"], found["loss"]
        floor = found.get("floor", floor)
    ratios = {name: megabytes[name] / megabytes[OURS] for name in contenders if name != OURS}
    return Outcome(
        f"the same step, vocabulary {LARGE_VOCABULARY:,}: peak memory",
        megabytes,
        {name: Ratio(ratio, ratio, ratio) for name, ratio in ratios.items()},
        max(losses.values()) - min(losses.values()),
        floor,
        unit="MB",
    )


def print_peak(name: str) -> None:
    """Takes some steps with a large vocabulary and prints the peak of this process as JSON."""
    import keras_hub  # noqa: F401  both processes start from the same imports

    before = _megabytes("VmRSS")
    batch = random_batch(LARGE_VOCABULARY, BATCH, LENGTH, MASKS)
    found: dict[str, float] = {}
    if name == OURS:
        model = _model(LARGE_VOCABULARY, 0.0)
        count = sum(parameter.variable.shape.num_elements() or 0 for parameter in parameters(model))
        found["floor"] = 3 * 4 * count / 1e6
        loss = steps_of(model, batch, SETTINGS, STEPS)()
    else:
        loss = _keras_hub(_keras_hub_model(LARGE_VOCABULARY, 0.0), batch)()
    print(json.dumps({**found, "megabytes": _megabytes("VmHWM") - before, "loss": float(loss)}))


def _megabytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) / 1e6 for line in lines if line.startswith(field + ":"))
