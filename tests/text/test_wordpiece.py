from __future__ import annotations

import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.wordpiece import WordPieceTokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def small(make_pair):
    letters = [
        *"abcdeé中.,[]#'",
        *(f"##{c}" for c in "abcdeé中.,[]#'"),
        "[unused1]",
        "it's",
        "##'s",
        "ab",
        "##",
        "...",
    ]
    return make_pair(Vocabulary([*SPECIALS, *letters]))


def test_sample_equals_the_reference(pair, sample) -> None:
    assert pair.differences(sample) == []


@pytest.mark.slow
def test_all_texts_equal_the_reference(pair, texts) -> None:
    assert len(texts) >= 100_000
    assert pair.differences(texts) == []


@pytest.mark.slow
def test_every_code_point_within_a_word_equals_the_reference(pair) -> None:
    points = [
        point for point in range(0x110000) if not 0xD800 <= point < 0xE000 and not 0x40100 < point < 0xE0000
    ]
    assert pair.differences([f"x{chr(point)}Y {chr(point)}" for point in points]) == []


@pytest.mark.peers
def test_sample_equals_bert_tokenizer_fast(pair, sample, token_rows) -> None:
    from transformers import BertTokenizerFast

    config = pair.vocabulary.config
    fast = BertTokenizerFast(
        {token: index for index, token in enumerate(pair.vocabulary)},
        do_lower_case=config.do_lower_case,
        strip_accents=config.strip_accents,
        tokenize_chinese_chars=config.tokenize_chinese_chars,
    )
    wanted = fast(sample, add_special_tokens=False, return_offsets_mapping=True)
    got = token_rows(pair.compiled(tf.constant([text.encode() for text in sample])))
    assert [[index for index, _, _ in row] for row in got] == wanted["input_ids"]
    for text, row, offsets in zip(sample, got, wanted["offset_mapping"], strict=True):
        places = [0, *np.cumsum([len(character.encode()) for character in text]).tolist()]
        assert [(start, end) for _, start, end in row] == [(places[a], places[b]) for a, b in offsets]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \t\n\u3000 ", []),
        ("\x00\u200b\ufffd", []),
        ("[MASK]", ["[MASK]"]),
        ("a[MASK]b", ["a", "[MASK]", "b"]),
        ("([MASK][MASK].)", ["[UNK]", "[MASK]", "[MASK]", ".", "[UNK]"]),
        ("[mask] [MASK", ["[", "[UNK]", "]", "[", "[UNK]"]),
        ("[[SEP]]", ["[", "[SEP]", "]"]),
        ("[UNK][PAD]", ["[UNK]", "[PAD]"]),
        ("it's [unused1]", ["[UNK]", "'", "[UNK]", "[", "[UNK]", "]"]),
        ("ABcÉ", ["ab", "##c", "##e"]),
        ("ab\u0301cd", ["ab", "##c", "##d"]),
        ("中é中", ["中", "e", "中"]),
        ("a" * 100, ["a"] + ["##a"] * 99),
        ("a" * 101 + " b", ["[UNK]", "b"]),
        ("é" * 100, ["e"] + ["##e"] * 99),
        ("é" * 101, ["[UNK]"]),
    ],
)
def test_tokens_of_text(small, token_rows, text: str, tokens: list[str]) -> None:
    (row,) = token_rows(small.ours([text]))
    assert [small.vocabulary.tokens[index] for index, _, _ in row] == tokens
    assert small.differences([text]) == []


def test_offsets_give_back_the_text_of_each_token(small, token_rows) -> None:
    text = "AÉ e\u0301[MASK]中,\u200bab".encode()
    (row,) = token_rows(small.ours([text]))
    pieces = [text[start:end].decode() for _, start, end in row]
    assert pieces == ["A", "É", "e", "[MASK]", "中", ",", "ab"]


def test_both_paths_agree_on_plain_lines(small, sample, token_rows) -> None:
    plain = [text for text in sample if text.isascii() and "[" not in text and text.isprintable()]
    assert len(plain) > 1000
    batch = tf.constant(plain)
    assert bool(tf.reduce_all(small.ours._is_plain(batch)))
    assert token_rows(small.ours._tokens_of_plain(batch)) == token_rows(small.ours._tokens_of_any(batch))


def test_every_pair_of_ascii_characters_equals_the_reference(small) -> None:
    ascii_characters = [chr(point) for point in range(128)]
    texts = [a + middle + b for a in ascii_characters for b in ascii_characters for middle in ("", "b")]
    assert small.differences(texts) == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(), max_size=5))
def test_any_text_equals_the_reference(small, texts: list[str]) -> None:
    assert small.differences(texts) == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text(alphabet="\u0301\u0323\u1b44\u1b34\U0001d165\U0001d16d\u302e\u0345é\u200da 中"), max_size=5
    )
)
def test_marks_in_any_order_equal_the_reference(small, texts: list[str]) -> None:
    assert small.differences(texts) == []


@settings(max_examples=300, deadline=None)
@given(st.binary())
def test_invalid_utf8_counts_as_replacement_characters(small, token_rows, data: bytes) -> None:
    (row,) = token_rows(small.compiled(tf.constant([data])))
    (clean,) = token_rows(small.compiled(tf.constant([data.decode("utf-8", "replace").encode()])))
    assert [index for index, _, _ in row] == [index for index, _, _ in clean]
    for _, start, end in row:
        assert 0 <= start < end <= len(data)


@pytest.mark.parametrize(
    "unit", ["a", "a b, ", "é", "ё中 [MASK]\u0301", "\xff".encode("latin-1"), "\u1b44\u0323"]
)
def test_a_megabyte_takes_linear_time(small, unit: str | bytes) -> None:
    unit = unit.encode() if isinstance(unit, str) else unit

    def seconds(size: int) -> float:
        text = tf.constant([unit * (size // len(unit))])
        start = time.perf_counter()
        small.compiled(text)
        return time.perf_counter() - start

    seconds(1000)
    # Quadratic time would be 64 times as long for 8 times the text.
    assert seconds(1 << 20) < 32 * max(seconds(1 << 17), 0.01)


def test_texts_do_not_depend_on_their_batch(small, sample, token_rows) -> None:
    texts = [text.encode() for text in sample[-200:]]
    together = token_rows(small.compiled(tf.constant(texts)))
    assert together == [token_rows(small.compiled(tf.constant([text])))[0] for text in texts]


def test_empty_batch(small) -> None:
    tokens = small.compiled(tf.zeros([0], tf.string))
    assert [tensor.shape[0] for tensor in tokens] == [0, 0, 0, 0, 0]
    assert small.compiled(tf.constant(["a b", "", "ab"])).to_ragged().to_list() == [
        [5, 6],
        [],
        [small.vocabulary.id_of("ab")],
    ]


def test_other_spellings_of_special_tokens(make_pair) -> None:
    config = TokenizerConfig(
        mask_token="<mask>", cls_token="<s>", sep_token="</s>", pad_token="<pád>", unk_token="<unk>"
    )
    pair = make_pair(Vocabulary(["<mask>", "<s>", "</s>", "<pád>", "<unk>", "a", "<", ">"], config))
    assert pair.differences(["a<mask>", "<pád>a", "<s>a</s><s", "<PÁD>", "<mask", "[MASK]", "é<unk>"]) == []


def test_of_overlapping_special_tokens_the_left_one_is_meant(make_pair) -> None:
    config = TokenizerConfig(mask_token="aba", sep_token="bab")
    pair = make_pair(Vocabulary(["[PAD]", "[UNK]", "[CLS]", "bab", "aba", "a", "b", "##b"], config))
    assert pair.differences(["aba", "ababa", "babab", "abababab", "abab ABA", "xbaba"]) == []


def test_a_token_too_long_for_tf_text_is_refused_if_a_word_may_be_so_long(make_pair) -> None:
    pair = make_pair(Vocabulary([*SPECIALS, "x" * 300, "x", "##x"]))
    assert pair.differences(["x" * 300, "x" * 100]) == []
    config = TokenizerConfig(max_input_chars_per_word=300)
    with pytest.raises(ConfigError, match="256"):
        WordPieceTokenizer(Vocabulary([*SPECIALS, "x" * 300], config))
