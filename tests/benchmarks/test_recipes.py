"""The contest of recipes at a size of seconds: the same time, text, vocabulary and masks for both."""

from __future__ import annotations

import json

import pytest

from benchmarks import recipes
from benchmarks.recipes import NEW, OLD, Learnt

TINY = {"vocabulary_size": 300, "hidden_size": 8, "heads": 2}
WORDS = "the cat sat on a mat and saw seven red birds over some green hills near that old house"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Learnt]:
    folder = tmp_path_factory.mktemp("recipes")
    corpus = folder / "corpus.jsonl"
    words = WORDS.split()
    texts = [" ".join(words[(i * j + j) % len(words)] for j in range(40)) for i in range(400)]
    corpus.write_text("".join(json.dumps({"text": f"{text} {i}"}) + "\n" for i, text in enumerate(texts)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "MINUTES", 0.05)
        patch.setattr(recipes, "TOKENS", 256)
        patch.setattr(
            recipes, "RECIPES", {name: {**recipe, **TINY} for name, recipe in recipes.RECIPES.items()}
        )
        return recipes.learnt(corpus, folder)


@pytest.mark.slow
def test_both_are_asked_for_the_same_masks(found: dict[str, Learnt]) -> None:
    old, new = found[OLD].evaluation, found[NEW].evaluation
    assert (old.masks, old.most_frequent) == (new.masks, new.most_frequent)
    assert old.loss != new.loss
    # One vocabulary, one text: the bits of a byte differ as the losses do.
    assert old.bits_per_byte is not None
    assert new.bits_per_byte is not None
    assert old.bits_per_byte / new.bits_per_byte == pytest.approx(old.loss / new.loss)


@pytest.mark.slow
def test_tokens_are_those_of_the_steps(found: dict[str, Learnt]) -> None:
    for one in found.values():
        assert one.tokens == one.result.steps * 256 > 0


def test_recipes_differ_in_what_they_say() -> None:
    old, new = (recipes._settings(recipes.RECIPES[name]) for name in (OLD, NEW))
    assert (old.optimizer, old.schedule, old.mask_rates) == ("adamw", "linear", (0.15, 0.15))
    assert (new.optimizer, new.schedule, new.mask_rates) == ("stableadamw", "wsd", (0.3, 0.15))
    same = ("minutes", "hidden_size", "vocabulary_size", "learning_rate", "warmup", "seed", "held_out")
    assert [getattr(old, name) for name in same] == [getattr(new, name) for name in same]
    assert old.batch_size * old.length == new.batch_size * new.length == recipes.TOKENS
