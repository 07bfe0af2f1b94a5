"""Added tokens in a text, with all their flags, beside the `tokenizers` library."""

from __future__ import annotations

import dataclasses
import random

import pytest
import tensorflow as tf

from tf_mlm.config import AddedToken, TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text.added_tokens import AddedTokenFinder
from tf_mlm.text.vocabulary import Vocabulary


def found(spellings: list[str], *texts: str) -> list[tuple[int, int, int]]:
    finder = AddedTokenFinder([AddedToken(spelling) for spelling in spellings], spellings)
    lines = tf.strings.unicode_decode(texts, "UTF-8")
    tokens = finder.find(lines.flat_values, tf.cast(lines.row_splits, tf.int32))
    return list(zip(*(tensor.numpy().tolist() for tensor in tokens), strict=True))


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["[MASK]"], [(0, 6, 0)]),
        (["a[MASK][SEP]", "[SEP]"], [(1, 7, 0), (7, 12, 1), (12, 17, 1)]),
        (["[MASK", "]"], []),
        (["", "[MAS", "K]"], []),
        (["[mask] [ MASK ] [MA\u200bSK]"], []),
        (["[[SEP]é[MASK]"], [(1, 6, 1), (7, 13, 0)]),
    ],
)
def test_places(texts: list[str], wanted: list[tuple[int, int, int]]) -> None:
    assert found(["[MASK]", "[SEP]"], *texts) == wanted


def test_the_leftmost_and_there_the_longest_token_takes_its_characters() -> None:
    assert found(["ab", "bc", "abcd", "cde"], "abcde abc cdeab") == [
        (0, 4, 2),
        (6, 8, 0),
        (10, 13, 3),
        (13, 15, 0),
    ]
    assert found(["aa"], "aaaaa", "aaa") == [(0, 2, 0), (2, 4, 0), (5, 7, 0)]
    assert found(["aab", "a"], "aaab" * 3) == [
        (i + 4 * k, j + 4 * k, w) for k in range(3) for i, j, w in [(0, 1, 1), (1, 4, 0)]
    ]


def test_ascii_texts_with_tokens() -> None:
    finder = AddedTokenFinder(
        [AddedToken("[MASK]"), AddedToken("a b"), AddedToken("é")], ["[MASK]", "a b", "é"]
    )
    texts = ["a", "[MASK]", "x\n[MASK].", "[mask]", "[MASK", "a\tb", "ab", "\\Q[MASK]\\E"]
    wanted = [False, True, True, False, False, True, False, True]
    assert tf.strings.regex_full_match(texts, finder.ascii_pattern).numpy().tolist() == wanted


def test_many_tokens_are_no_burden_for_the_pattern() -> None:
    spellings = [f"word{number}x" for number in range(5000)]
    finder = AddedTokenFinder([AddedToken(spelling) for spelling in spellings], spellings)
    assert len(finder.ascii_pattern) < 20_000
    assert tf.strings.regex_full_match(
        ["a word77x", "nothing here"], finder.ascii_pattern
    ).numpy().tolist() == [True, False]
    assert found(spellings, "word4999x word5000x")[0] == (0, 9, 4999)


def test_white_space_that_two_tokens_want_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"' b', and 'a' with rstrip=true"):
        AddedTokenFinder([AddedToken("a", rstrip=True), AddedToken(" b")], ["a", " b"])


SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*"abcé中.-[]_1", *(f"##{letter}" for letter in "abcé1"), "ab", "##bc"]
CONTENTS = [
    "[unused1]",
    "covid",
    "Covid",
    "a",
    "bc",
    "ab",
    "abc",
    "é",
    "É",
    "中",
    "b中",
    "a b",
    " b",
    "-",
    "<m>",
    "\u0301",
    "B.",
    "ſ",
    "1",
]
ALPHABET = [
    "a",
    "b",
    "c",
    "A",
    "B",
    "é",
    "É",
    "e\u0301",
    "\u0301",
    "中",
    " ",
    "  ",
    "\t",
    "\u3000",
    "\x00",
    ".",
    "-",
    "_",
    "1",
    "[MASK]",
    "<m>",
    "ab",
    "bc",
    "covid",
    "Covid",
    "[unused1]",
    "İ",
    "ſ",
    "\u200d",
    "①",
    "Ⓐ",
    "\u00a0",
]


def random_config(rng: random.Random) -> tuple[TokenizerConfig, list[str]]:
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    added = [
        AddedToken(content, **{flag: rng.random() < 0.4 for flag in flags})
        for content in rng.sample(CONTENTS, rng.randint(0, 7))
    ]
    if rng.random() < 0.3:
        added.append(
            AddedToken(
                "[MASK]",
                lstrip=rng.random() < 0.5,
                rstrip=rng.random() < 0.5,
                normalized=rng.random() < 0.5,
                special=True,
            )
        )
    if any(token.lstrip or token.rstrip for token in added):
        # Where two tokens want the same white space, the library fails, and ours are refused.
        added = [token for token in added if token.content not in (" b", "中", "b中")]
    config = TokenizerConfig(
        do_lower_case=rng.random() < 0.5,
        strip_accents=rng.choice([None, True, False]),
        tokenize_chinese_chars=rng.random() < 0.7,
        clean_text=rng.random() < 0.7,
        max_input_chars_per_word=rng.choice([1, 3, 100]),
        continuing_subword_prefix=rng.choice(["##", "##", "@@", "#", "_", "-x"]),
        added_tokens=tuple(added),
    )
    if config.strip_accents or (config.strip_accents is None and config.do_lower_case):
        # Nothing is left of a lone accent, and looking for nothing the library fails inside of a character.
        added = [token for token in added if not (token.normalized and token.content == "\u0301")]
        config = dataclasses.replace(config, added_tokens=tuple(added))
    return config, [token.content for token in added]


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 200))]
)
@pytest.mark.usefixtures("untraced")
def test_random_settings_equal_the_library(seed: int, make_pair) -> None:
    rng = random.Random(seed)
    config, contents = random_config(rng)
    letters = dict.fromkeys(letter.replace("##", config.continuing_subword_prefix) for letter in LETTERS)
    pieces = [*SPECIALS, *(letter for letter in letters if letter not in SPECIALS)]
    tokens = list(dict.fromkeys([*pieces, *contents]))
    pair = make_pair(Vocabulary(tokens, config, pieces=len(pieces)))
    texts = ["".join(rng.choices(ALPHABET, k=rng.randint(0, 9))) for _ in range(400)]
    assert pair.differences(texts) == []
