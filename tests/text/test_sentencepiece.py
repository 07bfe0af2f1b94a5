"""Unigram and SentencePiece's BPE beside the `tokenizers` library: ids and byte offsets, text by text."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tensorflow as tf
from reference import byte_level, token_rows, unigram
from reference.token_rows import found, preprocessor_of, wanted
from tokenizers import Tokenizer

from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import ConfigError, UnsupportedTokenizerError
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.sentencepiece import SentencePieceTokenizer, pre_tokenizer_of
from tf_mlm.text.vocabulary import Vocabulary

SPECIAL = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


@pytest.fixture(scope="module", params=unigram.KINDS)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Tokenizer, TextPreprocessor]:
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizer = unigram.write_tokenizer(directory, request.param)
    return request.param, tokenizer, preprocessor_of(directory, unigram.family_of(request.param), tokenizer)


def differences(tokenizer: Tokenizer, preprocessor: TextPreprocessor, texts: list[str]) -> list[str]:
    """Texts whose rows differ, but for sums of scores that are the same."""
    return token_rows.differences(tokenizer, preprocessor, texts, unigram.is_tie)


def test_ids_and_offsets_are_those_of_the_library(
    both: tuple[str, Tokenizer, TextPreprocessor], documentation: list[str]
) -> None:
    kind, tokenizer, preprocessor = both
    torments = byte_level.torments(unigram.mask_of(kind), 1000, seed=3)
    more = ["``a'' ```b", "<s>NOTUSED a </s>", "a\n\nb  c▁▁d", "\x01\x02a", "u\u0308\u0304x", "①\u0301b"]
    assert not differences(tokenizer, preprocessor, [*documentation[:1000], *torments, *more])


def test_every_code_point_is_cut_as_the_library_cuts_it(
    both: tuple[str, Tokenizer, TextPreprocessor],
) -> None:
    _, tokenizer, preprocessor = both
    texts = byte_level.code_points(0, 0x500) + byte_level.code_points(0x500, 0x20000, 97)
    assert not differences(tokenizer, preprocessor, texts)


@pytest.mark.usefixtures("untraced")
def test_pairs_are_put_together_as_the_library_does(both: tuple[str, Tokenizer, TextPreprocessor]) -> None:
    kind, tokenizer, preprocessor = both
    mask = unigram.mask_of(kind)
    first, second = byte_level.torments(mask, 30, seed=4), byte_level.torments(mask, 30, seed=5)
    batch = preprocessor(first, second)
    for row, encoding in enumerate(tokenizer.encode_batch(list(zip(first, second, strict=True)))):
        length = int(batch.lengths[row])
        assert batch.token_ids[row, :length].numpy().tolist() == encoding.ids
        assert batch.segment_ids[row, :length].numpy().tolist() == encoding.type_ids


def test_tokens_read_as_the_library_decodes_them(both: tuple[str, Tokenizer, TextPreprocessor]) -> None:
    kind, tokenizer, preprocessor = both
    for text in byte_level.torments(unigram.mask_of(kind), 200, seed=7):
        ids = tokenizer.encode(text).ids
        for skip in (True, False):
            ours = preprocessor.detokenize(ids, skip_special_tokens=skip)
            assert ours == tokenizer.decode(ids, skip_special_tokens=skip)


def test_bytes_that_are_no_utf8_count_as_one_replacement_each(
    both: tuple[str, Tokenizer, TextPreprocessor],
) -> None:
    _, tokenizer, preprocessor = both
    spoilt = [b"a\xff b", b"\xc3(", "é ".encode() + b"\xe4\xb8 the"]
    mended = [text.decode("utf-8", "replace") for text in spoilt]
    for text, row, other in zip(spoilt, found(preprocessor, spoilt), wanted(tokenizer, mended), strict=True):
        assert [index for index, _, _ in row] == [index for index, _, _ in other]
        assert max(end for _, _, end in row) <= len(text)


def test_words_begin_with_a_blank(both: tuple[str, Tokenizer, TextPreprocessor]) -> None:
    _, _, preprocessor = both
    vocabulary = preprocessor.vocabulary
    continues = {vocabulary.tokens[index] for index in vocabulary.continuation_ids}
    assert {"a", "ing", "e"} <= continues
    assert not any(token.startswith("▁") for token in continues)


def test_an_empty_batch_has_no_tokens(both: tuple[str, Tokenizer, TextPreprocessor]) -> None:
    tokens = SentencePieceTokenizer(both[2].vocabulary)(tf.constant([], tf.string))
    assert [tensor.shape.as_list() for tensor in tokens] == [[0]] * 5


def unigram_config(**settings: Any) -> TokenizerConfig:
    return TokenizerConfig("Unigram", mask_token="<mask>", do_lower_case=False, **{**SPECIAL, **settings})


TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "▁a"]
METASPACE = json.dumps({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True})


def test_every_token_needs_a_score() -> None:
    vocabulary = Vocabulary(TOKENS, unigram_config(pre_tokenizer=METASPACE), scores=[0.0, -1.0])
    with pytest.raises(ConfigError, match=r"a score for each of its 6 tokens. Received: 2 scores"):
        SentencePieceTokenizer(vocabulary)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalizer": {"type": "NFKC"}, "pre_tokenizer": json.loads(METASPACE)}, "Received: .*'NFKC'"),
        ({"pre_tokenizer": {"type": "Punctuation", "behavior": "Isolated"}}, "Received: .*Punctuation"),
        ({"pre_tokenizer": {"type": "WhitespaceSplit"}}, "Blanks must become ▁"),
    ],
    ids=["normalizer", "pre_tokenizer", "blanks"],
)
def test_what_cannot_be_followed_is_refused(settings: dict[str, Any], message: str) -> None:
    parts = {name: json.dumps(value) for name, value in settings.items()}
    vocabulary = Vocabulary(TOKENS, unigram_config(**parts), scores=[0.0] * len(TOKENS))
    if "Blanks" in message:  # white space alone would leave words without their ▁
        vocabulary = Vocabulary(TOKENS, unigram_config(), scores=[0.0] * len(TOKENS))
    with pytest.raises(UnsupportedTokenizerError, match=message):
        SentencePieceTokenizer(vocabulary)


def test_bytes_must_all_be_there() -> None:
    model = json.loads(unigram.mm_bert().to_str())["model"]
    del model["vocab"]["<0x41>"]
    config = TokenizerConfig(
        "SentencePieceBPE",
        normalizer='{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}',
        mask_token="<mask>",
        **{**SPECIAL, "cls_token": "<bos>", "sep_token": "<eos>"},
    )
    vocabulary = Vocabulary.of_ids(model["vocab"], config, merges=model["merges"])
    with pytest.raises(ConfigError, match=r"for each of the 256 bytes; it lacks 1, <0x41>"):
        SentencePieceTokenizer(vocabulary)


def test_a_prefix_can_be_for_the_first_word_only() -> None:
    first = json.loads(METASPACE) | {"prepend_scheme": "first"}
    assert pre_tokenizer_of(json.dumps(first)).prefix == "first"
    tokens = [*TOKENS, "a"]
    config = unigram_config(pre_tokenizer=json.dumps(first))
    tokenizer = SentencePieceTokenizer(Vocabulary(tokens, config, scores=[-1.0] * len(tokens)))
    assert tokenizer(["a<mask>a a"]).token_ids.numpy().tolist() == [5, 4, 6, 5]
