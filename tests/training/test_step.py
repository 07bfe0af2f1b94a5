"""The step's gradients against automatic differentiation of the whole model, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import parameters
from tf_mlm.training.step import METRICS, Batch, TrainStep

SIZES = ModelConfig(
    vocab_size=20,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=8,
    initializer_range=0.3,
)


def _batch(seed: int = 0) -> Batch:
    draw = np.random.default_rng(seed)
    return Batch(
        token_ids=tf.constant(draw.integers(0, 20, (4, 6)), tf.int32),
        lengths=tf.constant([6, 6, 4, 5]),
        mask_positions=tf.constant([[1, 3], [0, 5], [2, 0], [4, 0]]),
        mask_ids=tf.constant(draw.integers(0, 20, (4, 2)), tf.int32),
        mask_weights=tf.constant([[1.0, 1], [1, 1], [1, 0], [1, 0]]),
    )


def _step(sizes: ModelConfig = SIZES, **settings: object) -> TrainStep:
    config = TrainConfig(batch_size=4, **{"dropout": 0.0, "clip_norm": 0.0, **settings})
    model = MaskedLM.from_config(sizes, seed=1)
    optimizer = Optimizer(parameters(model, train=config.train), lambda step: tf.constant(0.01), config)
    return TrainStep.from_config(model, optimizer, config)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("loss", ["plain", "fused"])
def test_gradients_equal_those_of_the_plain_model(tied: bool, loss: str) -> None:
    step = _step(dataclasses.replace(SIZES, tie_word_embeddings=tied), loss=loss)
    batch, variables = _batch(), [parameter.variable for parameter in step.optimizer.parameters]
    with tf.GradientTape() as tape:
        logits = step.model(batch.token_ids, batch.lengths, None, batch.mask_positions)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch.mask_ids, logits)
        total = tf.reduce_sum(losses * batch.mask_weights)
    sums, gradients = step.sums(batch)
    np.testing.assert_allclose(sums.loss, total, rtol=1e-5)
    assert float(sums.weight) == 6
    for ours, theirs in zip(gradients, tape.gradient(total, variables), strict=True):
        np.testing.assert_allclose(ours, tf.convert_to_tensor(theirs), atol=1e-5)


def test_the_tied_table_gets_one_dense_gradient() -> None:
    step = _step()
    _, gradients = step.sums(_batch())
    assert all(isinstance(gradient, tf.Tensor) for gradient in gradients)


def test_metrics_are_means_over_masks() -> None:
    step = _step()
    sums, _ = step.sums(_batch())
    metrics = dict(zip(METRICS, step(_batch()).numpy(), strict=True))
    assert metrics["loss"] == pytest.approx(float(sums.loss) / 6)
    assert metrics["accuracy"] == pytest.approx(float(sums.correct) / 6)
    assert metrics["masks"] == 6
    assert metrics["learning_rate"] == pytest.approx(0.01)
    assert metrics["gradient_norm"] > 0


def test_a_batch_without_masks_does_no_harm() -> None:
    step = _step(weight_decay=0.0)
    batch = _batch()
    before = [parameter.variable.numpy() for parameter in step.optimizer.parameters]
    metrics = step(batch._replace(mask_weights=tf.zeros_like(batch.mask_weights)))
    assert np.isfinite(metrics).all()
    for parameter, value in zip(step.optimizer.parameters, before, strict=True):
        np.testing.assert_array_equal(parameter.variable, value)


def test_dropout_is_a_function_of_seed_step_and_shard() -> None:
    sizes = dataclasses.replace(SIZES, hidden_dropout_prob=0.5)
    step, other_seed = _step(sizes, dropout=None), _step(sizes, dropout=None, seed=2)
    loss = float(step.sums(_batch())[0].loss)
    assert loss == float(step.sums(_batch())[0].loss)
    assert loss != float(step.sums(_batch(), shard=1)[0].loss)
    assert loss != float(other_seed.sums(_batch())[0].loss)
    step.optimizer.step.assign_add(1)
    assert loss != float(step.sums(_batch())[0].loss)
    assert float(_step(sizes).sums(_batch())[0].loss) == float(_step().sums(_batch())[0].loss)


def test_a_head_that_does_not_return_logits_is_refused() -> None:
    model = MaskedLM.from_config(SIZES, seed=1)
    optimizer = Optimizer(parameters(model), lambda step: tf.constant(0.01), TrainConfig())
    model.head.activation = tf.nn.softmax
    with pytest.raises(ConfigError, match="Training needs logits"):
        TrainStep(model, optimizer, seed=0)


def test_mixed_precision_keeps_float32_variables() -> None:
    model = MaskedLM.from_config(SIZES, dtype="mixed_bfloat16", seed=1)
    optimizer = Optimizer(parameters(model), lambda step: tf.constant(0.01), TrainConfig())
    step = TrainStep(model, optimizer, seed=0, dropout=False)
    sums, gradients = step.sums(_batch())
    assert {gradient.dtype for gradient in gradients} == {tf.float32}
    np.testing.assert_allclose(sums.loss, _step().sums(_batch())[0].loss, rtol=0.05)
    assert np.isfinite(step(_batch())).all()
