"""Texts over the limit, against a loop that puts every window together by itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import Buckets, Limits
from tf_mlm.model.directory.checkpoint import load
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference
from tf_mlm.model.windows import centred, overlapping
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary

pytestmark = pytest.mark.usefixtures("quick_to_trace")
BUCKETS = Buckets(batch=(1, 4), length=(8, 16), masks=(1, 4, 16))
LIMIT, ROOM = 16, 14
Ask = Callable[[Inference, str, list[Any], bool], Any]
WORDS = ["the", "cat", "sat", "on", "a", "mat", "dogs", "ran", ".", "log"]


def text_of(words: int, seed: int = 0, masks: tuple[int, ...] = ()) -> str:
    found = np.random.default_rng(seed).choice(WORDS, words).tolist()
    for place in masks:
        found[place] = "[MASK]"
    return " ".join(found)


@pytest.fixture(scope="module", params=[False, True], ids=["graph", "xla"])
def inference(request: pytest.FixtureRequest, tiny_model: MaskedLM) -> Inference:
    return Inference(tiny_model, buckets=BUCKETS, top_k=3, xla=request.param, long_texts="windows")


@pytest.fixture(scope="module")
def refusing(tiny_model: MaskedLM) -> Inference:
    return Inference(tiny_model, buckets=BUCKETS, top_k=3, xla=False)


@functools.cache
def without_limit(vocabulary: Vocabulary) -> TextPreprocessor:
    return TextPreprocessor(vocabulary, None)


def tokens_of(model: MaskedLM, text: str) -> list[int]:
    whole = without_limit(model.preprocessor.vocabulary)
    return whole(text).token_ids.numpy()[0, 1:-1].tolist()


def window_around(tokens: list[int], place: int) -> tuple[int, list[int]]:
    """The start and tokens of the fullest window with `place` in its middle, found by trying them all."""
    if len(tokens) <= ROOM:
        return 0, tokens
    starts = [s for s in range(len(tokens) - ROOM + 1) if s <= place < s + ROOM]
    start = min(starts, key=lambda s: (abs(place - (s + ROOM // 2)), s))
    return start, tokens[start : start + ROOM]


def log_probabilities(model: MaskedLM, windows: list[list[int]], places: list[int]) -> np.ndarray:
    """[windows, vocab], each window (they are equally long) read at its place."""
    vocabulary = model.preprocessor.vocabulary
    ids = np.array([[vocabulary.cls_id, *tokens, vocabulary.sep_id] for tokens in windows], np.int32)
    positions = np.array(places, np.int32)[:, np.newaxis] + 1
    logits = model(ids, np.full(len(ids), ids.shape[1]), np.zeros_like(ids), positions).numpy()[:, 0]
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("words", [3, ROOM, ROOM + 1, 70])
def test_each_token_is_scored_once_with_as_much_context_as_fits(inference: Inference, words: int) -> None:
    texts = [text_of(words), "a dog", text_of(words, seed=1)]
    answer = {
        name: value.numpy() for name, value in inference.pseudo_log_likelihood(tf.constant(texts)).items()
    }
    mask = inference.preprocessor.vocabulary.mask_id
    for row, text in enumerate(texts):
        tokens = tokens_of(inference.model, text)
        assert answer["lengths"][row] == len(tokens) + 2
        windows, places = [], []
        for place in range(len(tokens)):
            start, window = window_around(tokens, place)
            windows.append([mask if start + k == place else other for k, other in enumerate(window)])
            places.append(place - start)
        found = log_probabilities(inference.model, windows, places)
        expected = found[range(len(tokens)), tokens]
        np.testing.assert_allclose(answer["token_scores"][row, 1 : len(tokens) + 1], expected, atol=1e-5)
        assert answer["token_scores"][row, 0] == answer["token_scores"][row, len(tokens) + 1] == 0
        np.testing.assert_allclose(answer["score"][row], np.sum(expected), rtol=1e-5)
        assert answer["tokens"][row, len(tokens) + 1] == b"[SEP]"


@pytest.mark.parametrize("words", [5, ROOM, ROOM + 1, 33])
def test_an_embedding_is_the_mean_over_each_token_in_the_middle_of_its_window(
    inference: Inference, words: int
) -> None:
    model, vocabulary = inference.model, inference.preprocessor.vocabulary
    text = text_of(words)
    tokens = tokens_of(model, text)
    stride, spare = ROOM // 2, max(len(tokens) - ROOM, 0)
    starts = sorted({min(start, spare) for start in range(0, spare + stride, stride)})
    hidden = {}
    for start in starts:
        ids = [[vocabulary.cls_id, *tokens[start : start + ROOM], vocabulary.sep_id]]
        hidden[start] = model.encoder(ids, [len(ids[0])], np.zeros_like(ids)).numpy()[0].astype(np.float64)
    states = [hidden[starts[0]][0], hidden[starts[-1]][-1]]
    for place in range(len(tokens)):
        # A tie goes to the regular window, and of two of those to the later one.
        def off_centre(start: int, place: int = place) -> tuple[float, bool, int]:
            return abs(place + 0.5 - start - ROOM / 2), start == spare and len(starts) > 1, -start

        states.append(hidden[start := min(starts, key=off_centre)][place - start + 1])
    found = inference.encode(tf.constant(["a dog", text]))["embeddings"].numpy()
    np.testing.assert_allclose(found[1], np.mean(states, 0), atol=1e-5)
    alone = inference.encode(tf.constant(["a dog"]))["embeddings"].numpy()[0]
    np.testing.assert_allclose(found[0], alone, atol=1e-6)


def test_a_mask_is_filled_in_the_window_around_it(inference: Inference) -> None:
    texts = [text_of(60, masks=(2, 30, 31, 59)), "the [MASK] sat"]
    answer = {name: value.numpy() for name, value in inference.fill(tf.constant(texts)).items()}
    tokens = tokens_of(inference.model, texts[0])
    mask = inference.preprocessor.vocabulary.mask_id
    masks = [place for place, token in enumerate(tokens) if token == mask]
    assert answer["mask_positions"][0].tolist() == [place + 1 for place in masks]
    targets = tf.constant([["cat", "dog"]] * 2)
    scored = inference.score_targets(tf.constant(texts), targets)
    for nth, place in enumerate(masks):
        start, window = window_around(tokens, place)
        expected = np.exp(log_probabilities(inference.model, [window], [place - start])[0])
        best = np.argsort(-expected)[:3]
        assert answer["token_ids"][0, nth].tolist() == best.tolist()
        np.testing.assert_allclose(answer["scores"][0, nth], expected[best], atol=1e-5)
        np.testing.assert_allclose(
            scored["scores"][0, nth], expected[scored["target_ids"].numpy()[0]], atol=1e-5
        )


def test_a_mask_within_the_limit_of_a_longer_text_is_filled_unasked(
    refusing: Inference, tiny_model: MaskedLM
) -> None:
    windows = Inference(tiny_model, buckets=BUCKETS, top_k=3, xla=False, long_texts="windows")
    texts, targets = tf.constant([text_of(60, masks=(2, 9))]), tf.constant([["cat", "dog"]])
    for answer in ("fill", "score_targets"):
        given = [texts] if answer == "fill" else [texts, targets]
        found, expected = getattr(refusing, answer)(*given), getattr(windows, answer)(*given)
        assert all((found[name].numpy() == expected[name].numpy()).all() for name in expected)


def test_every_token_is_tokenised(refusing: Inference) -> None:
    text = text_of(500)
    answer = refusing.tokenize(tf.constant([text, "a"]))
    assert answer["lengths"].numpy().tolist() == [len(tokens_of(refusing.model, text)) + 2, 3]
    last = answer["lengths"].numpy()[0] - 2
    start, end = answer["starts"].numpy()[0, last], answer["ends"].numpy()[0, last]
    assert answer["tokens"].numpy()[0, last] in (text.encode()[start:end], b"##s")
    assert end == len(text)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("question", "texts", "message"),
    [
        ("encode", ["a", text_of(20)], "No text may be longer than the limit; text 1 has 2[0-9] tokens"),
        (
            "fill",
            ["[MASK]", text_of(40, masks=(30,))],
            "No mask may lie beyond the length limit; text 1 has 4",
        ),
        ("fill", [text_of(40, masks=(3, 30))], "No mask may lie beyond the length limit; text 0 has 4"),
    ],
)
def test_a_text_over_the_limit_is_refused_by_name(
    refusing: Inference, ask: Ask, question: str, texts: list[str], message: str, graph: bool
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(refusing, question, [texts], graph)


@pytest.mark.parametrize("limit", [4, 5, 6, 7, 16])
@pytest.mark.parametrize("tokens", [1, 2, 3, 9, 30])
def test_windows_cover_every_token_and_stay_inside_the_text(limit: int, tokens: int) -> None:
    length, positions = tf.constant([tokens + 2]), tf.range(tokens + 2)
    windows, which = overlapping(length, tf.zeros_like(positions), positions, limit)
    starts, sizes = (tf.gather(part, which).numpy() for part in (windows.starts, windows.lengths))
    places = positions.numpy() - starts
    assert places[0] == 0
    assert places[-1] == sizes[-1] - 1
    inner = places[1:-1]
    assert ((inner >= 1) & (inner <= sizes[1:-1] - 2)).all()
    assert np.unique(windows.starts).size == windows.starts.shape[0]
    own = centred(tf.repeat(length, tokens), positions[1:-1], limit).numpy()
    inside = positions.numpy()[1:-1] - own
    assert ((inside >= 1) & (inside <= min(tokens, limit - 2))).all()


LIMITS = Limits(bytes=1000, tokens=100, copies=20, values=150)


@pytest.fixture(scope="module")
def limited(tiny_model: MaskedLM) -> Inference:
    return Inference(tiny_model, buckets=BUCKETS, top_k=3, xla=False, limits=LIMITS)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("question", "arguments", "message"),
    [
        ("tokenize", [["a" * 600, "b" * 600]], "texts of a request may hold at most 1000 bytes"),
        ("tokenize", [[""] * 51], "at most 50 texts"),
        ("encode", [["a"] * 30 + ["a a a"]], "at most 100 tokens, texts times the tokens of the longest one"),
        ("pseudo_log_likelihood", [["a a a a a a a"] * 3], "at most 20 tokens to be masked one by one"),
        ("fill", [["[MASK]"] * 18 + ["[MASK] [MASK] [MASK]"]], "at most 150 values"),
        ("score_targets", [["[MASK]"], [["a"] * 200]], "at most 50 targets"),
        ("score_targets", [["[MASK]"] * 4, [["a"] * 13] * 4], "at most 50 targets|at most 150 values"),
        ("score_targets", [["[MASK]"], [["a" * 1001]]], "targets of a request may hold at most 1000 bytes"),
        (
            "predict_masked",
            [[[2] * 16] * 7, [3] * 7, [[0] * 16] * 7, [[1]] * 7],
            "at most 100 tokens, rows times columns",
        ),
        ("predict_masked", [[[2] * 4], [3], [[0] * 4], [[1] * 8]], "at most 150 values"),
        ("masked_lm_head", [[[[0.0] * 16] * 3], [[1] * 8]], "at most 150 values"),
    ],
)
def test_work_beyond_a_limit_is_refused_by_name(
    limited: Inference, ask: Ask, question: str, arguments: list[Any], message: str, graph: bool
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(limited, question, arguments, graph)


def test_an_unused_slot_is_zeros_and_changes_nothing_else(inference: Inference) -> None:
    inputs = inference.model.preprocessor(["the [MASK] sat", "[MASK] a [MASK]"])
    answer = inference.predict_masked(*inputs[:4])["logits"].numpy()
    assert inputs.mask_positions.numpy()[0].tolist() == [2, -1]
    assert (answer[0, 1] == 0).all()
    expected = inference.model(*inputs[:4]).numpy()
    np.testing.assert_allclose(answer, expected, atol=2e-5)
    hidden = inference.model.encoder(*inputs[:3])
    answer = inference.masked_lm_head(hidden, inputs.mask_positions)["logits"].numpy()
    np.testing.assert_allclose(answer, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("file", "key", "value", "limit"),
    [
        ("sentence_bert_config.json", "max_seq_length", 12, 12),
        ("sentence_bert_config.json", "max_seq_length", None, 64),
        ("tokenizer_config.json", "model_max_length", 20, 20),
        ("tokenizer_config.json", "model_max_length", 1e30, 64),
    ],
)
def test_a_limit_that_a_model_came_with_is_kept(
    directory: Path, file: str, key: str, value: Any, limit: int
) -> None:
    path = directory / file
    settings = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**settings, key: value}))
    model = load(directory)
    assert model.preprocessor.max_length == limit
    assert Inference(model, top_k=1, xla=False).buckets.length[-1] == limit
