"""Byte-level BPE beside the `tokenizers` library: ids and byte offsets, text by text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from reference import byte_level
from reference.token_rows import differences, found, preprocessor_of, wanted
from tokenizers import Tokenizer

from tf_mlm.config import TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text.byte_bpe import ByteBpeTokenizer
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("roberta", {}),
    "whole offsets": ("roberta", {"trim_offsets": False}),
    "prefix": ("roberta", {"add_prefix_space": True}),
    "prefix, whole offsets": ("roberta", {"add_prefix_space": True, "trim_offsets": False}),
    "modernbert": ("modernbert", {}),
}


@pytest.fixture(scope="module", params=SETTINGS)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Tokenizer, TextPreprocessor]:
    kind, settings = SETTINGS[request.param]
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizer = byte_level.write_tokenizer(directory, kind, **settings)
    return kind, tokenizer, preprocessor_of(directory, kind, tokenizer)


def test_ids_and_offsets_are_those_of_the_library(
    both: tuple[str, Tokenizer, TextPreprocessor], documentation: list[str]
) -> None:
    kind, tokenizer, preprocessor = both
    texts = documentation[:1500] + byte_level.torments(byte_level.mask_of(kind), 1500, seed=3)
    assert not differences(tokenizer, preprocessor, texts)


def test_every_code_point_is_cut_as_the_library_cuts_it(
    both: tuple[str, Tokenizer, TextPreprocessor],
) -> None:
    _, tokenizer, preprocessor = both
    texts = byte_level.code_points(0, 0x500) + byte_level.code_points(0x500, 0x20000, 61)
    assert not differences(tokenizer, preprocessor, texts)


@pytest.mark.usefixtures("untraced")
def test_pairs_are_put_together_as_the_library_does(both: tuple[str, Tokenizer, TextPreprocessor]) -> None:
    kind, tokenizer, preprocessor = both
    mask = byte_level.mask_of(kind)
    first, second = byte_level.torments(mask, 50, seed=4), byte_level.torments(mask, 50, seed=5)
    batch = preprocessor(first, second)
    encodings = tokenizer.encode_batch(list(zip(first, second, strict=True)))
    for row, encoding in enumerate(encodings):
        length = int(batch.lengths[row])
        assert batch.token_ids[row, :length].numpy().tolist() == encoding.ids
        assert batch.segment_ids[row, :length].numpy().tolist() == encoding.type_ids


def test_the_older_files_say_the_same(tmp_path: Path) -> None:
    texts = byte_level.torments("<mask>", 300, seed=6)
    tokenizer = byte_level.write_older_files(tmp_path)
    assert not differences(tokenizer, preprocessor_of(tmp_path, "roberta", tokenizer), texts)


def test_bytes_that_are_no_utf8_count_as_one_replacement_each(
    both: tuple[str, Tokenizer, TextPreprocessor],
) -> None:
    _, tokenizer, preprocessor = both
    spoilt = [b"a\xff b", b"\xc3(", "é ".encode() + b"\xe4\xb8 the", b" \x80\x80  x"]
    mended = [text.decode("utf-8", "replace") for text in spoilt]
    for text, row, other in zip(spoilt, found(preprocessor, spoilt), wanted(tokenizer, mended), strict=True):
        assert [index for index, _, _ in row] == [index for index, _, _ in other]
        assert max(end for _, _, end in row) <= len(text)


def test_tokens_read_as_the_library_decodes_them(both: tuple[str, Tokenizer, TextPreprocessor]) -> None:
    kind, tokenizer, preprocessor = both
    for text in byte_level.torments(byte_level.mask_of(kind), 300, seed=7):
        ids = tokenizer.encode(text).ids
        for skip in (True, False):
            ours = preprocessor.detokenize(ids, skip_special_tokens=skip)
            assert ours == tokenizer.decode(ids, skip_special_tokens=skip)
    pad = preprocessor.vocabulary.pad_id
    for index in (index for index in range(tokenizer.get_vocab_size()) if index != pad):
        ours = preprocessor.detokenize([index], skip_special_tokens=False)  # many are parts of characters
        assert ours == tokenizer.decode([index], skip_special_tokens=False)


def test_a_token_without_a_blank_continues_a_word(both: tuple[str, Tokenizer, TextPreprocessor]) -> None:
    _, _, preprocessor = both
    vocabulary = preprocessor.vocabulary
    continues = {vocabulary.tokens[index] for index in vocabulary.continuation_ids}
    assert {"a", "ing", "1", "Ã"} <= continues
    assert not continues & {"Ġ", "Ġthe", ".", "'s", "Ċ", vocabulary.config.mask_token}


def vocabulary_of(tokenizer: Tokenizer, change: Any = lambda model: None) -> Vocabulary:
    model = json.loads(tokenizer.to_str())["model"]
    change(model)
    config = TokenizerConfig(
        "BPE",
        cls_token="<s>",
        pad_token="<pad>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
    ids = {**model["vocab"], "<mask>": max(model["vocab"].values()) + 1}
    return Vocabulary.of_ids(ids, config, merges=[tuple(pair) for pair in model["merges"]])


def rename(model: dict[str, Any], token: str) -> None:
    model["vocab"][f"{token} no more"] = model["vocab"].pop(token)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: rename(model, "!"), r"a token for each of the 256 bytes; it lacks 1, '!'"),
        (
            lambda model: model["merges"].append(["Ġ", "unheard"]),
            r"tokens of the vocabulary; merge \d+, 'Ġ' 'unheard', has 'unheard'",
        ),
        (
            lambda model: model["merges"].reverse(),
            r"cut into itself alone, .* is not\. Such merges cannot be carried",
        ),
    ],
    ids=["no byte", "no token", "no way"],
)
def test_a_vocabulary_that_does_not_fit_is_refused(change: Any, message: str) -> None:
    vocabulary = vocabulary_of(byte_level.roberta(), change)
    with pytest.raises(ConfigError, match=message):
        ByteBpeTokenizer(vocabulary)


def test_an_empty_batch_has_no_tokens() -> None:
    tokens = ByteBpeTokenizer(vocabulary_of(byte_level.roberta()))(tf.constant([], tf.string))
    assert [tensor.shape.as_list() for tensor in tokens] == [[0]] * 5
