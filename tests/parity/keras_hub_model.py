"""A KerasHub `BertMaskedLM` and a Google BERT checkpoint, converted; and the same training on both sides."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from parity.claim import Measurements, claim, difference
from reference import keras_hub_presets, numpy_bert
from reference.foreign_checkpoints import (
    SIZES,
    VOCAB,
    google_variables,
    hugging_face_weights,
    keras_hub_masked_lm,
    write_google_checkpoint,
)

import tf_mlm
from tf_mlm.convert.conversion import convert
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import parameters
from tf_mlm.training.step import Batch, TrainStep


@claim("tf-mlm convert, KerasHub preset and .keras file: logits", 1e-5)
def keras_hub(quick: bool) -> Measurements:
    for seed in range(1 if quick else 3):
        for suffix in ("", ".keras"):
            with tempfile.TemporaryDirectory() as directory:
                model = keras_hub_masked_lm(seed=seed)
                source = Path(directory, f"source{suffix}")
                model.save(source) if suffix else model.save_to_preset(str(source))
                report = convert(source, Path(directory, "converted"))
                assert report.largest_logit_difference is not None
                yield f"seed={seed} {suffix or 'preset'} report", report.largest_logit_difference
                batch = _batch(seed)
                ours = tf_mlm.load(Path(directory, "converted"))
                logits = ours(
                    batch.token_ids, batch.lengths, tf.zeros_like(batch.token_ids), batch.mask_positions
                )
                yield (
                    f"seed={seed} {suffix or 'preset'} logits",
                    difference(logits, _keras_logits(model, batch)),
                )


@claim("tf-mlm convert, every masked language model of KerasHub: logits", 1e-4)
def keras_hub_families(quick: bool) -> Measurements:
    for name in ["RoformerV2"] if quick else keras_hub_presets.SIZES:
        for spare_rows in (3,) if quick else (0, 3, 64):
            with tempfile.TemporaryDirectory() as directory:
                model = keras_hub_presets.keras_hub_model(name, spare_rows=spare_rows)
                model.save_to_preset(str(Path(directory, "source")))
                report = convert(Path(directory, "source"), Path(directory, "converted"))
                assert report.largest_logit_difference is not None
                yield f"{name}, {spare_rows} rows without a token", report.largest_logit_difference


@claim("tf-mlm convert, Google BERT checkpoint of TensorFlow 1: logits, against float64 NumPy", 1e-4)
def google(quick: bool) -> Measurements:
    for activation in ("gelu", "relu", "gelu_new", "tanh"):
        with tempfile.TemporaryDirectory() as directory:
            variables = google_variables()
            source = write_google_checkpoint(Path(directory, "source"), variables, hidden_act=activation)
            convert(source, Path(directory, "converted"))
            model = tf_mlm.load(Path(directory, "converted"))
            weights = hugging_face_weights(variables)
            yield activation, _twin_difference(model, weights, activation)


def _twin_difference(model: MaskedLM, weights: numpy_bert.Weights, activation: str) -> float:
    batch = _batch(0)
    ids, lengths = batch.token_ids.numpy(), batch.lengths.numpy()
    segments = np.random.default_rng(5).integers(0, 2, ids.shape)
    states = numpy_bert.encode(
        ids,
        lengths,
        segments,
        weights,
        layers=SIZES["layers"],
        heads=SIZES["heads"],
        activation=activation,
        epsilon=1e-12,
    )
    ours = model(ids, lengths, segments.astype(np.int32), batch.mask_positions).numpy()
    theirs = [
        numpy_bert.head(text[positions], weights, activation, 1e-12)
        for text, positions in zip(states, batch.mask_positions.numpy(), strict=True)
    ]
    return difference(ours, np.stack(theirs))


@claim("Ten AdamW steps = KerasHub's with Keras's AdamW, dropout off: losses", 1e-4)
def training(quick: bool) -> Measurements:
    """Epsilon is tiny because Keras adds it before, and this package after, the bias correction."""
    for seed in range(1 if quick else 3):
        theirs = keras_hub_masked_lm(seed=seed, scale=0.02, preprocessor=False)
        with tempfile.TemporaryDirectory() as directory:
            theirs.save_to_preset(str(Path(directory, "source")))
            convert(Path(directory, "source"), Path(directory, "converted"))
            ours = tf_mlm.load(Path(directory, "converted"))
        config = TrainConfig(weight_decay=0.01, clip_norm=1.0, epsilon=1e-8, dropout=0.0)
        optimizer = Optimizer(parameters(ours), lambda step: tf.constant(1e-3), config)
        train_step = TrainStep(ours, optimizer, seed=0, dropout=False)
        step = tf.function(train_step, jit_compile=True, autograph=False)
        keras_step = _keras_step(theirs, config)
        for index in range(10):
            batch = _batch(100 * seed + index)
            yield f"seed={seed} step={index}", abs(float(step(batch)[0]) - float(keras_step(batch)))


def _keras_step(model: Any, config: TrainConfig) -> Any:
    optimizer = keras.optimizers.AdamW(
        1e-3,
        weight_decay=config.weight_decay,
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        epsilon=config.epsilon,
        global_clipnorm=config.clip_norm,
    )
    optimizer.exclude_from_weight_decay(var_list=[w for w in model.trainable_weights if _is_vector(w)])
    trained = [weight for weight in model.trainable_weights if "pooled_dense" not in weight.path]

    @tf.function(autograph=False)
    def step(batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                batch.mask_ids, _keras_logits(model, batch, training=True)
            )
            loss = tf.reduce_sum(losses * batch.mask_weights) / tf.reduce_sum(batch.mask_weights)
        gradients = tape.gradient(loss, [weight.value for weight in trained])
        # Dense: Keras squares the sparse gradient of a repeated id piece by piece.
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients], trained)
        return loss

    optimizer.build(trained)
    return step


def _is_vector(weight: Any) -> bool:
    """Biases and norms; attention's biases have an axis for heads and one for their size."""
    return weight.path.endswith(("bias", "gamma", "beta"))


def _keras_logits(model: Any, batch: Batch, **options: Any) -> tf.Tensor:
    inputs = {
        "token_ids": batch.token_ids,
        "segment_ids": tf.zeros_like(batch.token_ids),
        "padding_mask": tf.sequence_mask(batch.lengths, tf.shape(batch.token_ids)[1], tf.int32),
        "mask_positions": batch.mask_positions,
    }
    return model(inputs, **options)


def _batch(seed: int, rows: int = 8, length: int = 16, masks: int = 3) -> Batch:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(masks + 1, length + 1, rows)
    return Batch(
        tf.constant(rng.integers(5, VOCAB, (rows, length)), tf.int32),
        tf.constant(lengths, tf.int32),
        tf.constant(rng.integers(0, lengths[:, None], (rows, masks)), tf.int32),
        tf.constant(rng.integers(5, VOCAB, (rows, masks)), tf.int32),
        tf.constant(rng.integers(0, 2, (rows, masks)) | (np.arange(masks) == 0), tf.float32),
    )


CLAIMS = [keras_hub, keras_hub_families, google, training]
