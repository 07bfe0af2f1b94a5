from __future__ import annotations

import pytest
import tensorflow as tf

from tf_mlm.config import ConfigError, TokenizerConfig
from tf_mlm.text.special_tokens import SpecialTokenFinder
from tf_mlm.text.vocabulary import Vocabulary

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def found(finder: SpecialTokenFinder, *texts: str) -> list[tuple[int, int]]:
    lines = tf.strings.unicode_decode(texts, "UTF-8")
    places, which = finder.find(lines.flat_values, tf.cast(lines.row_splits, tf.int32))
    return list(
        zip(places.numpy().tolist(), tf.gather(finder.token_ids, which).numpy().tolist(), strict=True)
    )


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["[MASK]"], [(0, 4)]),
        (["a[MASK][SEP]", "[CLS]"], [(1, 4), (7, 3), (12, 2)]),
        (["[MASK", "]"], []),
        (["", "[MAS", "K]"], []),
        (["[mask] [Mask] [ MASK ] [MA\u200bSK]"], []),
        (["[[PAD]]é[UNK]"], [(1, 0), (8, 1)]),
    ],
)
def test_places_of_special_tokens(texts: list[str], wanted: list[tuple[int, int]]) -> None:
    assert found(SpecialTokenFinder(Vocabulary(TOKENS)), *texts) == wanted


def test_of_two_that_start_alike_the_longer_is_meant() -> None:
    config = TokenizerConfig(mask_token="<m>", sep_token="<m>+")
    finder = SpecialTokenFinder(Vocabulary(["[PAD]", "[UNK]", "[CLS]", "<m>+", "<m>"], config))
    assert found(finder, "<m><m>+<m") == [(0, 4), (3, 3)]


def test_ascii_texts_with_special_tokens() -> None:
    finder = SpecialTokenFinder(Vocabulary(TOKENS))
    texts = ["a", "[MASK]", "a\n[SEP].", "[mask]", "[MASK", "\\Q[PAD]\\E"]
    assert finder.is_in_ascii(tf.constant(texts)).numpy().tolist() == [False, True, True, False, False, True]


def with_unknown(spelling: str) -> Vocabulary:
    return Vocabulary(["[PAD]", spelling, "[CLS]", "[SEP]", "[MASK]"], TokenizerConfig(unk_token=spelling))


def test_the_beginning_of_another_one_is_told_apart_by_length() -> None:
    assert found(SpecialTokenFinder(with_unknown("[PA")), "[PA[PAD]") == [(0, 1), (3, 0)]


@pytest.mark.parametrize("spelling", ["xyx", "D]x", "K[MAS", "EP"])
def test_overlaps_are_refused(spelling: str) -> None:
    with pytest.raises(ConfigError, match="No special token may overlap"):
        SpecialTokenFinder(with_unknown(spelling))
