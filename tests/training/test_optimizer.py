"""AdamW and LAMB against NumPy, and against Keras where both define the same thing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import Parameter

BASE = TrainConfig(clip_norm=0.0, weight_decay=0.1, beta_2=0.99)
SHAPES = ((4, 3), (3,), (2, 2, 2))
RATE = 0.05


def _variables(seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.normal(size=shape).astype(np.float32) for shape in SHAPES]


def _gradients(step: int) -> list[np.ndarray]:
    return _variables(100 + step)


def _ours(config: TrainConfig, steps: int, rates: tuple[float, ...] = (1, 1, 1)) -> list[np.ndarray]:
    variables = [tf.Variable(value) for value in _variables()]
    parameters = [
        Parameter(str(index), variable, rate, float(len(variable.shape) > 1))
        for index, (variable, rate) in enumerate(zip(variables, rates, strict=True))
    ]
    optimizer = Optimizer(parameters, lambda step: tf.constant(RATE), config)
    apply = tf.function(lambda *gradients: optimizer.apply(gradients), jit_compile=True)
    for step in range(steps):
        apply(*(tf.constant(gradient) for gradient in _gradients(step)))
    assert int(optimizer.step) == steps
    return [variable.numpy() for variable in variables]


def _twin(config: TrainConfig, steps: int, rates: tuple[float, ...] = (1, 1, 1)) -> list[np.ndarray]:
    """The update rules as the papers write them, in float64."""
    weights = [value.astype(np.float64) for value in _variables()]
    first, second = ([np.zeros(shape) for shape in SHAPES] for _ in range(2))
    for step in range(steps):
        gradients = [value.astype(np.float64) for value in _gradients(step)]
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
        if config.clip_norm and norm > config.clip_norm:
            gradients = [gradient * config.clip_norm / norm for gradient in gradients]
        for index, gradient in enumerate(gradients):
            first[index] = config.beta_1 * first[index] + (1 - config.beta_1) * gradient
            second[index] = config.beta_2 * second[index] + (1 - config.beta_2) * gradient**2
            average = first[index] / (1 - config.beta_1 ** (step + 1))
            spread = np.sqrt(second[index] / (1 - config.beta_2 ** (step + 1)))
            update = average / (spread + config.epsilon)
            if weights[index].ndim > 1:
                update = update + config.weight_decay * weights[index]
                if config.optimizer == "lamb":
                    update = update * np.linalg.norm(weights[index]) / np.linalg.norm(update)
            weights[index] = weights[index] - RATE * rates[index] * update
    return weights


@pytest.mark.parametrize("rule", ["adamw", "lamb"])
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_updates_equal_the_papers(rule: str, clip: float) -> None:
    config = dataclasses.replace(BASE, optimizer=rule, clip_norm=clip)
    rates = (1.0, 0.5, 0.25)
    for ours, wanted in zip(_ours(config, 5, rates), _twin(config, 5, rates), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=2e-6)


def test_adamw_equals_keras() -> None:
    # Keras adds epsilon before the bias correction, so both are compared with next to none.
    config = dataclasses.replace(BASE, epsilon=1e-12)
    keras = tf.keras.optimizers.AdamW(
        RATE, weight_decay=config.weight_decay, beta_1=config.beta_1, beta_2=config.beta_2, epsilon=1e-12
    )
    variables = [tf.keras.Variable(value, name=f"v{index}") for index, value in enumerate(_variables())]
    keras.exclude_from_weight_decay([variables[1]])
    for step in range(5):
        keras.apply(_gradients(step), variables)
    for ours, theirs in zip(_ours(config, 5), variables, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-5, atol=2e-6)


def test_lamb_equals_keras_without_decay() -> None:
    config = dataclasses.replace(BASE, optimizer="lamb", weight_decay=0.0)
    keras = tf.keras.optimizers.Lamb(RATE, beta_1=config.beta_1, beta_2=config.beta_2, epsilon=config.epsilon)
    variables = [tf.keras.Variable(value, name=f"v{index}") for index, value in enumerate(_variables())]
    for step in range(5):
        keras.apply(_gradients(step), variables)
    ours = _ours(config, 5)
    for index in (0, 2):  # vectors have no trust ratio here, as in BERT's LAMB
        np.testing.assert_allclose(ours[index], variables[index].numpy(), rtol=2e-5, atol=2e-6)


def test_biases_and_norms_do_not_decay() -> None:
    config = dataclasses.replace(BASE, weight_decay=0.5)
    still = dataclasses.replace(BASE, weight_decay=0.0)
    with_decay, without = _ours(config, 1), _ours(still, 1)
    np.testing.assert_array_equal(with_decay[1], without[1])
    assert np.abs(with_decay[0] - without[0]).max() > 1e-3


@pytest.mark.parametrize("part_bytes", [8, 1 << 20], ids=["in parts", "whole"])
def test_a_divisor_is_a_division_of_the_gradients(monkeypatch: pytest.MonkeyPatch, part_bytes: int) -> None:
    monkeypatch.setattr("tf_mlm.training.optimizer.PART_BYTES", part_bytes)

    def updated(factor: float, clip: float) -> tuple[float, np.ndarray]:
        variable = tf.Variable([[1.0, -2.0], [0.5, 3.0]])
        config = dataclasses.replace(BASE, clip_norm=clip)
        optimizer = Optimizer([Parameter("w", variable, 1.0, 1.0)], lambda step: tf.constant(RATE), config)
        gradient = factor * tf.constant([[0.3, -0.1], [0.2, 0.4]])
        norm, _ = optimizer.apply([gradient], divisor=tf.constant(factor))
        return float(norm), variable.numpy()

    for clip in (0.0, 0.1):
        (norm, value), (same_norm, same_value) = updated(1.0, clip), updated(64.0, clip)
        np.testing.assert_allclose(norm, np.sqrt(0.3), rtol=1e-6)
        np.testing.assert_allclose(same_norm, norm, rtol=1e-6)
        np.testing.assert_allclose(same_value, value, rtol=1e-6)


def test_stable_adamw_holds_back_a_sudden_gradient() -> None:
    """The rule of Wortsman et al., algorithm 2, in float64."""
    config = dataclasses.replace(BASE, optimizer="stableadamw")
    weights = [value.astype(np.float64) for value in _variables()]
    first, second = ([np.zeros(shape) for shape in SHAPES] for _ in range(2))
    for step in range(5):
        for index, gradient in enumerate(_gradients(step)):
            first[index] = config.beta_1 * first[index] + (1 - config.beta_1) * gradient
            second[index] = config.beta_2 * second[index] + (1 - config.beta_2) * gradient**2
            average = first[index] / (1 - config.beta_1 ** (step + 1))
            square = second[index] / (1 - config.beta_2 ** (step + 1))
            rms = np.sqrt(np.mean(gradient**2 / np.maximum(square, config.epsilon**2)))
            update = average / (np.sqrt(square) + config.epsilon)
            update = update + config.weight_decay * (weights[index].ndim > 1) * weights[index]
            weights[index] = weights[index] - RATE / max(1.0, rms) * update
    for ours, wanted in zip(_ours(config, 5), weights, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=2e-6)


def test_muon_equals_keras_for_matrices_inside_layers_and_adamw_elsewhere() -> None:
    muon = pytest.importorskip("keras").optimizers
    if not hasattr(muon, "Muon"):
        pytest.skip("this Keras has no Muon")
    config = dataclasses.replace(BASE, optimizer="muon", epsilon=1e-12)
    draw = np.random.default_rng(0)
    values = [draw.normal(size=shape).astype(np.float32) for shape in ((6, 4), (3, 5), (4, 3), (3,))]
    steps = [[draw.normal(size=x.shape).astype(np.float32) for x in values] for _ in range(5)]
    theirs = [tf.keras.Variable(x, name=f"v{index}") for index, x in enumerate(values)]
    keras = muon.Muon(
        RATE,
        adam_beta_1=config.beta_1,
        adam_beta_2=config.beta_2,
        weight_decay=config.weight_decay,
        adam_weight_decay=config.weight_decay,
        epsilon=1e-12,
        exclude_layers=["v2"],
    )
    keras.exclude_from_weight_decay([theirs[3]])
    variables = [tf.Variable(x) for x in values]
    optimizer = Optimizer(
        [Parameter(str(i), v, 1.0, float(len(v.shape) > 1), i < 2) for i, v in enumerate(variables)],
        lambda step: tf.constant(RATE),
        config,
    )
    assert sorted(name for name in optimizer.state() if name.startswith("second")) == ["second/2", "second/3"]
    apply = tf.function(lambda *gradients: optimizer.apply(gradients), jit_compile=True)
    for gradients in steps:
        keras.apply([tf.constant(x) for x in gradients], theirs)
        apply(*(tf.constant(x) for x in gradients))
    for ours, wanted in zip(variables, theirs, strict=True):
        np.testing.assert_allclose(ours, wanted.numpy(), rtol=2e-4, atol=2e-5)
