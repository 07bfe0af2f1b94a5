"""What a comparison of a rounded model with the float one finds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import Buckets
from tf_mlm.export.accuracy import compare
from tf_mlm.export.quantization import quantize
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference


def test_the_report_finds_no_difference_to_itself_and_a_small_one_to_int8(tiny_model: MaskedLM) -> None:
    chance = np.random.default_rng(0)
    batches = [
        (
            tf.constant(chance.integers(5, 21, [8, 12]), tf.int32),
            tf.constant([12, 12, 12, 9, 9, 9, 5, 5]),
            tf.constant(chance.integers(1, 5, [8, 3]), tf.int32),
            tf.constant(chance.integers(5, 21, [8, 3]), tf.int32),
            tf.constant([[1.0, 1.0, 0.0]] * 8),
        )
        for _ in range(3)
    ]
    same = compare(tiny_model, tiny_model, batches)
    assert same.masks == 48
    assert (same.top_1_agreement, same.kl, same.loss) == (1.0, 0.0, same.float_loss)
    report = compare(tiny_model, quantize(tiny_model), batches)
    assert 0 < report.kl < 0.05
    assert report.loss == pytest.approx(report.float_loss, abs=0.1)
    assert report.float_loss == same.loss
    other = MaskedLM.from_config(tiny_model.config, seed=99)
    assert compare(tiny_model, other, batches).kl > 10 * report.kl
    ids, lengths, positions, hidden, weights = batches[0]
    logits = tf.nn.log_softmax(tiny_model(ids, lengths, None, positions)).numpy()
    expected = -np.take_along_axis(logits, hidden.numpy()[..., None], -1)[..., 0][weights.numpy() > 0].mean()
    assert compare(tiny_model, tiny_model, batches[:1]).loss == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="needs hidden tokens to guess"):
        compare(tiny_model, tiny_model, [(*batch[:-1], tf.zeros_like(batch[-1])) for batch in batches])


def test_pieces_are_scored_as_the_model_itself_scores_text(tiny_model: MaskedLM) -> None:
    assert tiny_model.preprocessor is not None
    texts = ["the quick fox is slow .", "the log , the dog ?", "fox"]
    inputs = tiny_model.preprocessor([*texts, "it only fills the batch"])
    ids, hidden = inputs.token_ids.numpy(), inputs.token_ids.numpy()[:, 1:2].copy()
    ids[:, 1] = tiny_model.preprocessor.vocabulary.mask_id
    places, weights = tf.ones([len(ids), 1], tf.int32), tf.constant([[1.0]] * len(texts) + [[0.0]])
    batch = (tf.constant(ids), inputs.lengths, places, tf.constant(hidden), weights)
    other = MaskedLM.from_config(tiny_model.config, seed=99, preprocessor=tiny_model.preprocessor)
    report = compare(tiny_model, other, [batch])
    expected, others = (
        Inference(model, xla=False, buckets=Buckets((4,), (16,), (4,)))
        .pseudo_log_likelihood(tf.constant(texts))["score"]
        .numpy()
        for model in (tiny_model, other)
    )
    assert report.pieces == len(texts)
    assert report.float_pll == pytest.approx(expected.mean(), rel=1e-4)
    assert report.pll == pytest.approx(others.mean(), rel=1e-4)
    ranks = [scores.argsort().argsort() for scores in (expected, others)]
    assert report.pll_rank_correlation == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert compare(tiny_model, tiny_model, [batch]).pll_rank_correlation == pytest.approx(1)
