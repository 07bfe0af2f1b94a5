"""FillMask: the structure and the rules of its answers. The peers' numbers are compared elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.model.fill_mask import FillMask
from tf_mlm.model.masked_lm import MaskedLM


@pytest.fixture(scope="module")
def fill(tiny_model: MaskedLM) -> FillMask:
    return FillMask(tiny_model)


def test_one_mask_one_text(fill: FillMask) -> None:
    rows = fill("The [MASK] sat.", top_k=3)
    assert [set(row) for row in rows] == [{"score", "token", "token_str", "sequence"}] * 3
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    tokens = fill.model.preprocessor.vocabulary.tokens
    assert [tokens[row["token"]] for row in rows] == [row["token_str"] for row in rows]


def test_several_masks_and_texts_nest_one_list_each(fill: FillMask) -> None:
    two = fill("[MASK] cat [MASK]", top_k=2)
    assert np.shape([[row["token"] for row in mask] for mask in two]) == (2, 2)
    assert "[MASK]" in two[0][0]["sequence"]
    batch = fill(["a [MASK]", "[MASK] cat [MASK]"], top_k=2)
    assert batch[1][1][0]["token"] == two[1][0]["token"]
    assert batch[0][0]["token"] == fill("a [MASK]")[0]["token"]


def test_texts_come_in_any_form(fill: FillMask) -> None:
    alone = fill("a [MASK]", top_k=2)
    assert fill(b"a [MASK]", top_k=2) == alone
    assert fill("\ud800a [MASK]", top_k=2) == alone  # a lone surrogate is no text, and dropped
    for batch in (["a [MASK]"], ("a [MASK]",), np.array(["a [MASK]"]), tf.constant(["a [MASK]"])):
        assert fill(batch, top_k=2) == [alone]


def test_targets_are_ranked_among_themselves_by_the_full_softmax(fill: FillMask) -> None:
    rows = fill("the [MASK] sat", targets=["dog", "cat", "dog"])
    assert sorted(row["token_str"] for row in rows) == ["cat", "dog"]
    everything = {row["token"]: row["score"] for row in fill("the [MASK] sat", top_k=21)}
    for row in rows:
        assert row["score"] == pytest.approx(everything[row["token"]], abs=1e-6)
    assert fill("the [MASK] sat", targets="cat")[0]["token_str"] == "cat"


def test_more_fills_than_prepared_for(fill: FillMask) -> None:
    assert len(fill("a [MASK]", top_k=21)) == 21
    assert sum(row["score"] for row in fill("a [MASK]", top_k=21)) == pytest.approx(1, abs=1e-5)


def test_with_xla_the_answers_are_the_same(fill: FillMask, tiny_model: MaskedLM) -> None:
    compiled = FillMask(tiny_model, xla=True)("the [MASK] sat", top_k=3)
    for ours, theirs in zip(compiled, fill("the [MASK] sat", top_k=3), strict=True):
        assert ours == {**theirs, "score": pytest.approx(theirs["score"], abs=1e-6)}


def test_bad_questions_are_explained(fill: FillMask) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="must contain the mask token"):
        fill("no mask here")
    with pytest.raises(ValueError, match=r"`top_k` must be a whole number of at least 1.*top_k=0"):
        fill("a [MASK]", top_k=0)
    with pytest.raises(ValueError, match=r"`top_k` must lie in \[1, 21\].*top_k=22"):
        fill("a [MASK]", top_k=22)
    with pytest.raises(ValueError, match="At least one text"):
        fill([])
    with pytest.raises(ValueError, match=r"`text` must be one text or a batch .*shape \(1, 1\)"):
        fill([["a [MASK]"]])
    with pytest.raises(ValueError, match="A target must contain at least one token"):
        fill("a [MASK]", targets=[" "])
