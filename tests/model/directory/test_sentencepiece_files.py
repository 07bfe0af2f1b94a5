"""SentencePiece tokenizers in a model directory: which file counts, what differs, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference import unigram
from reference.model_directory import edit_json

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError, TokenizerWarning
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.model.directory.write_tokenizer import write_preprocessor
from tf_mlm.text.preprocessor import TextPreprocessor


def config_of(kind: str, size: int = 2048) -> ModelConfig:
    return ModelConfig(vocab_size=size, model_type=unigram.family_of(kind), pad_token_id=1)


def read(directory: Path, kind: str) -> TextPreprocessor:
    preprocessor = read_preprocessor(directory, config_of(kind))
    assert preprocessor is not None
    return preprocessor


def change(directory: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((directory / "tokenizer.json").read_text())
    edit(values)
    (directory / "tokenizer.json").write_text(json.dumps(values))


@pytest.mark.parametrize("kind", unigram.KINDS)
@pytest.mark.filterwarnings("ignore:.*more than rounding up explains")
def test_a_tokenizer_comes_back(tmp_path: Path, kind: str) -> None:
    unigram.write_tokenizer(tmp_path, kind)
    preprocessor = read(tmp_path, kind)
    (tmp_path / "spiece.model").write_text("of another model")
    write_preprocessor(preprocessor, tmp_path, config_of(kind, preprocessor.vocabulary.size))
    assert not (tmp_path / "spiece.model").exists()
    assert read(tmp_path, kind).vocabulary == preprocessor.vocabulary


@pytest.mark.parametrize("kind", unigram.CLASSES)
@pytest.mark.filterwarnings("ignore:.*more than rounding up explains")
def test_the_model_alone_has_the_ids_of_the_class(tmp_path: Path, kind: str) -> None:
    unigram.write_model(tmp_path, kind)
    alone = read(tmp_path, kind).vocabulary
    unigram.write_tokenizer(tmp_path, kind)
    whole = read(tmp_path, kind).vocabulary
    assert alone.tokens[: len(unigram.vocabulary(kind))] == whole.tokens[: len(unigram.vocabulary(kind))]
    for name in ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id", "scores"):
        assert getattr(alone, name) == getattr(whole, name), name
    text = "<mask>the “quoted” ½ list" if kind != "albert" else "[MASK]the “quoted” ½ list"
    assert read(tmp_path, kind)(text).token_ids.shape[-1] > 8


@pytest.mark.filterwarnings("ignore:.*more than rounding up explains")
def test_the_class_counts_and_says_where_the_file_differs(tmp_path: Path) -> None:
    unigram.write_tokenizer(tmp_path, "xlm-roberta, older")
    edit_json(tmp_path, "tokenizer_config.json", tokenizer_class="XLMRobertaTokenizer")
    with pytest.warns(
        TokenizerWarning, match=r"XLM-R's .*normalizer=Sequence Precompiled Strip Replace there"
    ):
        read(tmp_path, "xlm-roberta")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda values: values["model"].update(unk_id=None), r"`model.unk_id` must be the id of a token"),
        (lambda values: values["model"].update(byte_fallback=True), r"`model.byte_fallback` must be False"),
        (lambda values: values.update(decoder={"type": "CTC"}), None),
        (lambda values: values.update(normalizer={"type": "NFKC"}), r"`normalizer` must be made of .*'NFKC'"),
        (
            lambda values: values.update(pre_tokenizer={"type": "Whitespace"}),
            r"`pre_tokenizer` must be .*'Whitespace'",
        ),
    ],
    ids=["no unknown token", "bytes", "decoder", "normalizer", "pre_tokenizer"],
)
@pytest.mark.filterwarnings("ignore:.*more than rounding up explains")
def test_what_a_generic_file_says_otherwise_is_named(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str | None
) -> None:
    unigram.write_tokenizer(tmp_path, "xlm-roberta, older")
    change(tmp_path, edit)
    if message is None:
        edit_of_decoder = {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}
        change(tmp_path, lambda values: values.update(decoder=edit_of_decoder))
        message = r"`decoder` must be Metaspace, .*'CTC'"
    with pytest.warns(TokenizerWarning, match=rf"tokenizer.json`: .*{message}.*token ids instead"):
        assert read_preprocessor(tmp_path, config_of("xlm-roberta")) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a git-lfs pointer"),
        (b"\xff\xff\xff", "must be a SentencePiece model"),
        (b"", "is empty"),
    ],
    ids=["pointer", "other bytes", "empty"],
)
def test_a_damaged_model_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    unigram.write_model(tmp_path, "camembert")
    (tmp_path / "sentencepiece.bpe.model").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"sentencepiece.bpe.model.*{message}"):
        read(tmp_path, "camembert")


def test_a_damaged_charsmap_is_named(tmp_path: Path) -> None:
    unigram.write_tokenizer(tmp_path, "xlm-roberta")
    change(tmp_path, lambda values: values["normalizer"].update(precompiled_charsmap="AAAA"))
    with pytest.raises(ConfigError, match=r"tokenizer.json"):
        read(tmp_path, "xlm-roberta")


@pytest.mark.filterwarnings("ignore:.*more than rounding up explains")
def test_camemberts_class_knows_tokens_that_its_files_need_not_name(tmp_path: Path) -> None:
    unigram.write_tokenizer(tmp_path, "camembert")
    change(
        tmp_path,
        lambda values: values.update(
            added_tokens=[token for token in values["added_tokens"] if "NOTUSED" not in token["content"]]
        ),
    )
    vocabulary = read(tmp_path, "camembert").vocabulary
    special = {vocabulary.tokens[index] for index in vocabulary.special_ids}
    assert {"<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"} <= special
