"""Evaluation against a NumPy count of ranks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training import evaluation
from tf_mlm.training.evaluation import Evaluator
from tf_mlm.training.step import Batch

SIZES = ModelConfig(
    vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, initializer_range=0.5
)


@pytest.mark.parametrize("logit_bytes", [evaluation.LOGIT_BYTES, 4 * 30 * 4], ids=["at once", "in parts"])
def test_against_numpy(monkeypatch: pytest.MonkeyPatch, logit_bytes: int) -> None:
    monkeypatch.setattr(evaluation, "LOGIT_BYTES", logit_bytes)
    draw = np.random.default_rng(0)
    model = MaskedLM.from_config(SIZES, seed=0)
    batches, losses, ranks, hidden = [], [], [], []
    for _ in range(3):
        weights = draw.integers(0, 2, (5, 3))
        batch = Batch(
            tf.constant(draw.integers(0, 30, (5, 7)), tf.int32),
            tf.constant(draw.integers(4, 8, 5), tf.int32),
            tf.constant(draw.integers(0, 4, (5, 3)), tf.int32),
            tf.constant(draw.integers(0, 30, (5, 3)), tf.int32),
            tf.constant(weights, tf.float32),
        )
        batches.append(batch)
        logits = model(batch.token_ids, batch.lengths, None, batch.mask_positions).numpy().astype(np.float64)
        for row, place in np.argwhere(weights):
            scores, target = logits[row, place], int(batch.mask_ids[row, place])
            losses.append(np.log(np.exp(scores).sum()) - scores[target])
            ranks.append((scores > scores[target]).sum())
            hidden.append(target)
    found = Evaluator(model, tokens_per_byte=0.25)(batches)
    assert found.bits_per_byte == pytest.approx(np.mean(losses) / np.log(2) / 4, rel=1e-5)
    assert found.masks == len(losses)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.perplexity == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)
    assert found.top_1 == pytest.approx(np.mean(np.array(ranks) < 1))
    assert found.top_5 == pytest.approx(np.mean(np.array(ranks) < 5))
    assert found.most_frequent == pytest.approx(np.bincount(hidden).max() / len(hidden))
    assert found.lift == pytest.approx(found.top_1 / found.most_frequent)


def _batch(weights: list[list[float]]) -> Batch:
    ones = tf.ones([2, 2], tf.int32)
    return Batch(tf.ones([2, 4], tf.int32), tf.constant([4, 4]), ones, ones, tf.constant(weights, tf.float32))


def test_nothing_to_guess_is_no_perfect_score() -> None:
    with pytest.raises(ConfigError, match="needs hidden tokens to guess"):
        Evaluator(MaskedLM.from_config(SIZES, seed=0))([_batch([[0, 0], [0, 0]])])


def test_answers_that_are_no_numbers_are_wrong_ones() -> None:
    model = MaskedLM.from_config(SIZES, seed=0)
    model.head.output_bias.assign(np.full(30, np.nan))
    found = Evaluator(model)([_batch([[1, 0], [1, 1]])])
    assert (found.top_1, found.top_5) == (0, 0)
    assert np.isnan(found.loss)


def test_a_forbidden_filler_costs_nothing() -> None:
    model = MaskedLM.from_config(SIZES, seed=0)
    bias = np.zeros(30)
    bias[0] = -np.inf
    model.head.output_bias.assign(bias)
    batch = _batch([[1, 0], [1, 0]])
    found = Evaluator(model)([batch._replace(mask_ids=tf.constant([[1, 0], [2, 0]]))])
    assert np.isfinite(found.loss)
