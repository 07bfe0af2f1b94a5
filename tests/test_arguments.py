"""Every argument of every public call, given what it does not take: it works, or the message names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mlm
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.loss import fused_sums, plain_sums

IDS = np.array([[2, 5, 4, 3], [2, 4, 3, 0]], np.int32)
STATES = np.ones([2, 4, 16], np.float32)
LENGTHS, POSITIONS = [4, 3], [[1], [1]]

WRONG: dict[str, Any] = {
    "none": None,
    "number": 3,
    "float": 1.5,
    "no list": {"a": 1},
    "floats": np.ones([2, 4], np.float32),
    "floats of rank 4": np.zeros([1, 2, 3, 4], np.float32),
    "truth values": np.ones([2, 4], bool),
    "complex": np.ones([2, 4], complex),
    "objects": np.array([[1, None]], object),
    "one text": "abc",
    "text scalar": tf.constant("a"),
    "texts": ["a", "b"],
    "texts of rank 2": tf.constant([["a"]]),
    "texts and a number": ["a", 3],
    "a text and none": np.array(["a", None], object),
    "integers of rank 3": np.zeros([2, 3, 4], np.int32),
    "uneven rows": [[1], [2, 3]],
    "beyond int32": [[2**70]],
    "ragged": tf.ragged.constant([[1], [2, 0]]),
    "ragged texts": tf.ragged.constant([["a"], ["b", "c"]]),
    "sparse": tf.sparse.from_dense(IDS),
    "symbolic": keras.Input([4], dtype="int32"),
}
NUMBERS = {"number", "float", "floats", "floats of rank 4", "integers of rank 3"}
TEXTS = {"one text", "text scalar", "texts"}
LOSS = {
    "states": tf.ones([2, 3]),
    "table": tf.ones([5, 3]),
    "bias": tf.ones([5]),
    "targets": tf.constant([1, 2]),
    "weights": tf.ones([2]),
}


def calls(model: MaskedLM) -> dict[str, tuple[str, Callable[[Any], Any], set[str]]]:
    """Name → the argument, how to pass it, and which of the above it takes."""
    encoder, preprocessor = model.encoder, model.preprocessor
    head = tf_mlm.MaskedLMHead(11, hidden_dim=16)
    embedding = tf_mlm.ReversibleEmbedding(11, 16)
    masker = tf_mlm.MaskedLMMaskGenerator(30, 0.3, 4, 5, seed=1)
    found = {
        "head, inputs": ("inputs", lambda x: head(x, POSITIONS), set()),
        "head, positions": ("mask_positions", lambda x: head(STATES, x), {"ragged"}),
        "embedding": ("ids", embedding, NUMBERS),
        "embedding in reverse": ("inputs", lambda x: embedding(x, reverse=True), set()),
        "encoder, ids": ("token_ids", lambda x: encoder(x, [1, 1]), {"ragged"}),
        "encoder, lengths": ("lengths", lambda x: encoder(IDS, x), {"none"}),
        "encoder, segments": ("segment_ids", lambda x: encoder(IDS, LENGTHS, x), {"none"}),
        "encoder, positions": (
            "positions",
            lambda x: encoder(IDS, LENGTHS, positions=x),
            {"none", "ragged"},
        ),
        "model, ids": ("token_ids", lambda x: model(x, [1, 1], None, POSITIONS), {"ragged"}),
        "model, lengths": ("lengths", lambda x: model(IDS, x, None, POSITIONS), {"none"}),
        "model, positions": ("mask_positions", lambda x: model(IDS, LENGTHS, None, x), {"ragged"}),
        "masker": ("inputs", masker, {"ragged", "uneven rows"}),
        "masker, step": ("step", lambda x: masker(IDS, step=x), {"none", "number"}),
        "preprocessor": ("text", preprocessor, TEXTS),
        "preprocessor, pair": ("pair", lambda x: preprocessor("a", x), {"none", "one text", "text scalar"}),
        "tokenizer": ("text", preprocessor.tokenizer, {"texts"}),
        "targets": ("targets", preprocessor.target_ids, TEXTS | {"texts of rank 2"}),
        "tokens of": ("token_ids", preprocessor.tokens_of, {"number", "integers of rank 3"}),
        "detokenize": ("token_ids", preprocessor.detokenize, {"ragged", "uneven rows"}),
    }
    for loss in (plain_sums, fused_sums):
        for name in LOSS:
            given = (name, lambda x, loss=loss, name=name: loss(**{**LOSS, name: x}), set())
            found[f"{loss.__name__}, {name}"] = given
    return found


@pytest.fixture(scope="module")
def table(tiny_model: MaskedLM) -> dict[str, tuple[str, Callable[[Any], Any], set[str]]]:
    return calls(tiny_model)


NAMES = [
    "head, inputs",
    "head, positions",
    "embedding",
    "embedding in reverse",
    *(f"encoder, {name}" for name in ("ids", "lengths", "segments", "positions")),
    *(f"model, {name}" for name in ("ids", "lengths", "positions")),
    "masker",
    "masker, step",
    "preprocessor",
    "preprocessor, pair",
    "tokenizer",
    "targets",
    "tokens of",
    "detokenize",
    *(f"{loss}, {name}" for loss in ("plain_sums", "fused_sums") for name in LOSS),
]


@pytest.mark.parametrize("call", NAMES)
def test_it_works_or_the_message_names_the_argument(call: str, table: dict) -> None:
    assert set(table) == set(NAMES)
    argument, function, taken = table[call]
    wrong = []
    for name, value in WRONG.items():
        if name in taken:
            function(value)
            continue
        advice = "no error at all"
        try:
            function(value)
        except (ValueError, TypeError) as error:
            advice = str(error)
        except Exception as error:
            advice = f"{type(error).__name__}: {error}"
        said = advice.splitlines()[0]
        if f"`{argument}`" not in said or "Received" not in said or "Error" in said:
            wrong.append(f"{name}: {said[:200]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integers_of_any_width_are_the_same_ids(dtype: str, tiny_model: MaskedLM) -> None:
    ids, lengths, positions = (np.asarray(x).astype(dtype) for x in (IDS, LENGTHS, POSITIONS))
    wanted = tiny_model(IDS, LENGTHS, IDS * 0, POSITIONS)
    np.testing.assert_array_equal(tiny_model(ids, lengths, ids * 0, positions), wanted)
