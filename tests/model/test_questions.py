"""Every question, against the plain call of the model: no buckets, no chunks, one text at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import Buckets
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.programs import default_buckets
from tf_mlm.model.questions import Inference

pytestmark = pytest.mark.usefixtures("quick_to_trace")
BUCKETS = Buckets(batch=(1, 4), length=(8, 16, 32), masks=(1, 4, 16))
TEXTS = [
    "the [MASK] sat",
    "[MASK]",
    "a dog ran on the mat, the log [MASK] a slow cat sat [MASK] the fast mat . [MASK] ?",
    "the cats [MASK] [MASK] [MASK] [MASK] [MASK]",
    "sitting on [MASK] mat",
]


def plain_logits(model: MaskedLM, text: str) -> np.ndarray:
    """Logits [masks, vocab] of one text, from the model's own call."""
    inputs = model.preprocessor(text)
    return model(*inputs[:3], inputs.mask_positions).numpy()[0]


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


@pytest.fixture(scope="module", params=[False, True], ids=["graph", "xla"])
def inference(request: pytest.FixtureRequest, tiny_model: MaskedLM) -> Inference:
    return Inference(tiny_model, buckets=BUCKETS, top_k=3, xla=request.param)


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], TEXTS[::-1] * 3], ids=["mixed", "one", "many"])
def test_fill_gives_the_models_likeliest_tokens(inference: Inference, texts: list[str]) -> None:
    answer = {key: value.numpy() for key, value in inference.fill(tf.constant(texts)).items()}
    vocabulary = inference.model.preprocessor.vocabulary
    for row, text in enumerate(texts):
        expected = softmax(plain_logits(inference.model, text))
        count = len(expected)
        best = np.argsort(-expected, axis=-1)[:, :3]
        np.testing.assert_array_equal(answer["token_ids"][row, :count], best)
        np.testing.assert_allclose(
            answer["scores"][row, :count], np.take_along_axis(expected, best, -1), atol=1e-5
        )
        spelt = [[vocabulary.tokens[token].encode() for token in mask] for mask in best]
        assert answer["tokens"][row, :count].tolist() == spelt
        assert (answer["mask_positions"][row, count:] == -1).all()
        assert (answer["tokens"][row, count:] == b"").all()
        assert (answer["scores"][row, count:] == 0).all()
        assert (answer["token_ids"][row, count:] == vocabulary.pad_id).all()


def test_an_answer_does_not_depend_on_who_shares_the_batch(inference: Inference) -> None:
    together = inference.fill(tf.constant(TEXTS))["scores"].numpy()
    for row, text in enumerate(TEXTS):
        alone = inference.fill(tf.constant([text]))["scores"].numpy()[0]
        np.testing.assert_allclose(together[row, : len(alone)], alone, atol=1e-6)


def test_an_empty_batch_has_an_empty_answer(inference: Inference) -> None:
    empty = tf.zeros([0], tf.string)
    assert inference.fill(empty)["scores"].shape == (0, 0, 3)
    assert inference.encode(empty)["embeddings"].shape == (0, 16)
    assert inference.pseudo_log_likelihood(empty)["score"].shape == (0,)


def test_score_targets_is_the_share_of_the_full_softmax(inference: Inference) -> None:
    targets = [["cat", "dog"]] * len(TEXTS)
    answer = inference.score_targets(tf.constant(TEXTS), tf.constant(targets))
    tokens = inference.model.preprocessor.vocabulary.tokens
    ids = [tokens.index("cat"), tokens.index("dog")]
    assert answer["target_ids"].numpy().tolist() == [ids] * len(TEXTS)
    for row, text in enumerate(TEXTS):
        expected = softmax(plain_logits(inference.model, text))[:, ids]
        np.testing.assert_allclose(answer["scores"][row, : len(expected)], expected, atol=1e-5)


def test_pseudo_log_likelihood_masks_each_token_once(inference: Inference) -> None:
    texts = ["the cat sat on a mat .", "dogs", "", "unknowable words"]
    answer = {
        key: value.numpy() for key, value in inference.pseudo_log_likelihood(tf.constant(texts)).items()
    }
    model = inference.model
    for row, text in enumerate(texts):
        inputs = model.preprocessor(text)
        ids = inputs.token_ids.numpy()[0]
        expected = []
        for position in range(1, len(ids) - 1):
            copy = ids.copy()
            copy[position] = model.preprocessor.vocabulary.mask_id
            logits = model(copy[None], inputs.lengths, inputs.segment_ids, [[position]]).numpy()[0, 0]
            expected.append(np.log(softmax(logits)[ids[position]]))
        length = len(expected) + 2
        assert answer["lengths"][row] == length
        np.testing.assert_allclose(answer["token_scores"][row, 1 : length - 1], expected, atol=1e-5)
        np.testing.assert_allclose(answer["score"][row], sum(expected), atol=1e-4)
        assert answer["token_scores"][row, 0] == 0
        assert answer["tokens"][row, 0] == b"[CLS]"
        assert (answer["tokens"][row, length:] == b"").all()


def test_encode_is_the_mean_over_real_tokens(inference: Inference) -> None:
    embeddings = inference.encode(tf.constant(TEXTS))["embeddings"].numpy()
    for row, text in enumerate(TEXTS):
        hidden = inference.model.encoder(*inference.model.preprocessor(text)[:3]).numpy()[0]
        np.testing.assert_allclose(embeddings[row], hidden.mean(0), atol=1e-5)


def test_predict_masked_and_head_give_the_models_logits(inference: Inference) -> None:
    inputs = inference.model.preprocessor(TEXTS)
    positions = tf.maximum(inputs.mask_positions, 0)
    expected = inference.model(*inputs[:3], positions).numpy()
    logits = inference.predict_masked(*inputs[:3], positions)["logits"].numpy()
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    hidden = inference.model.encoder(*inputs[:3])
    logits = inference.masked_lm_head(hidden, positions)["logits"].numpy()
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_answers_ignore_what_stands_behind_the_length(inference: Inference) -> None:
    ids = tf.constant([[2, 5, 4, 3, 0, 0]])
    segments, positions = tf.zeros_like(ids), tf.constant([[2]])
    clean = inference.predict_masked(ids, tf.constant([4]), segments, positions)["logits"]
    padded_by_repeating = tf.constant([[2, 5, 4, 3, 2, 2]])  # as TF-Serving pads
    other = inference.predict_masked(padded_by_repeating, tf.constant([4]), segments + 1, positions)
    segments_matter = inference.predict_masked(ids, tf.constant([4]), segments + 1, positions)
    np.testing.assert_allclose(other["logits"], segments_matter["logits"], atol=1e-6)
    assert np.abs(clean - segments_matter["logits"]).max() > 1e-3


@pytest.mark.parametrize(
    ("inference", "graph"),
    [
        pytest.param(True, True, id="xla-graph"),  # as exports have it
        pytest.param(False, False, id="graph-eager"),  # as Python has it
        pytest.param(True, False, id="xla-eager", marks=pytest.mark.slow),
        pytest.param(False, True, id="graph-graph", marks=pytest.mark.slow),
    ],
    indirect=["inference"],
    scope="module",
)
@pytest.mark.parametrize(
    ("question", "arguments", "message"),
    [
        ("fill", [["the cat"]], r"must contain the mask token \[MASK\]"),
        ("fill", [["a [MASK]", "the cat", ""]], r"must contain the mask token .*1.* 2"),
        ("fill", [["the " * 40 + "[MASK]"]], "No mask may lie beyond the length limit; text 0 has 43 tokens"),
        ("score_targets", [["a [MASK]"], [["cat"], ["dog"]]], "one row of candidates per text"),
        ("score_targets", [["a [MASK]"], [["cat", "  "]]], "at least one token"),
        ("predict_masked", [[[2, 99, 3]], [3], [[0, 0, 0]], [[1]]], r"`token_ids` must lie in \[0, 21\)"),
        ("predict_masked", [[[2, -1, 3]], [3], [[0, 0, 0]], [[1]]], r"`token_ids` must lie in"),
        ("predict_masked", [[[2, 5, 3]], [4], [[0, 0, 0]], [[1]]], "`lengths` must lie in"),
        ("predict_masked", [[[2, 5, 3]], [3], [[0, 0, 2]], [[1]]], r"`segment_ids` must lie in \[0, 2\)"),
        ("predict_masked", [[[2, 5, 3]], [3], [[0, 0]], [[1]]], "`segment_ids` must have the shape"),
        ("predict_masked", [[[2, 5, 3]], [3, 3], [[0, 0, 0]], [[1]]], "one entry per row"),
        ("predict_masked", [[[2, 5, 3]], [3], [[0, 0, 0]], [[3]]], "`mask_positions` must lie in"),
        ("predict_masked", [[[2, 5, 3]], [3], [[0, 0, 0]], [[-2]]], "`mask_positions` must lie in"),
        ("predict_masked", [[[2] * 33], [3], [[0] * 33], [[1]]], "at most 32 columns"),
        ("masked_lm_head", [[[[0.0] * 16] * 3], [[3]]], r"`mask_positions` must lie in \[0, length\)"),
        ("masked_lm_head", [[[[0.0] * 16] * 3], [[-2]]], "or be -1 for an unused slot"),
    ],
)
def test_bad_input_names_the_rule(
    inference: Inference,
    ask: Callable[[Inference, str, list[Any], bool], Any],
    question: str,
    arguments: list[Any],
    message: str,
    graph: bool,
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(inference, question, arguments, graph)


def test_construction_states_its_rules(tiny_model: MaskedLM) -> None:
    with pytest.raises(ValueError, match="must have a preprocessor"):
        Inference(MaskedLM(tiny_model.encoder, tiny_model.head))
    with pytest.raises(ValueError, match=r"positions for 64 tokens.*\(16, 128\)"):
        Inference(tiny_model, buckets=Buckets(length=(16, 128)))
    with pytest.raises(ValueError, match=r"`top_k` must lie in \[1, 21\].*22"):
        Inference(tiny_model, top_k=22)


@pytest.mark.parametrize(
    ("max_length", "lengths"), [(512, (16, 32, 64, 128, 256, 512)), (100, (16, 32, 64, 100)), (8, (8,))]
)
def test_default_buckets_reach_the_models_limit(max_length: int, lengths: tuple[int, ...]) -> None:
    assert default_buckets(max_length).length == lengths
