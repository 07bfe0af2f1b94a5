"""Byte-level BPE in a model directory: which file counts, what differs, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference import byte_level
from reference.model_directory import edit_json

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError, TokenizerWarning
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.model.directory.write_tokenizer import write_preprocessor
from tf_mlm.text.preprocessor import TextPreprocessor


def read(directory: Path, model_type: str = "roberta") -> TextPreprocessor:
    config = ModelConfig(vocab_size=byte_level.SIZE + 40, model_type=model_type, pad_token_id=1)
    preprocessor = read_preprocessor(directory, config)
    assert preprocessor is not None
    return preprocessor


def change(directory: Path, edit: Callable[[dict[str, Any]], object], name: str = "tokenizer.json") -> None:
    values = json.loads((directory / name).read_text())
    edit(values)
    (directory / name).write_text(json.dumps(values))


@pytest.mark.parametrize("kind", byte_level.KINDS)
def test_a_tokenizer_comes_back(tmp_path: Path, kind: str) -> None:
    byte_level.write_tokenizer(tmp_path, kind)
    preprocessor = read(tmp_path, kind)
    (tmp_path / "merges.txt").write_text("of another model")
    config = ModelConfig(vocab_size=preprocessor.vocabulary.size, model_type=kind, pad_token_id=1)
    write_preprocessor(preprocessor, tmp_path, config)
    assert not (tmp_path / "merges.txt").exists()
    assert read(tmp_path, kind).vocabulary == preprocessor.vocabulary


def test_the_class_counts_and_says_where_the_file_differs(tmp_path: Path) -> None:
    byte_level.write_tokenizer(tmp_path, "roberta")
    change(tmp_path, lambda values: values["pre_tokenizer"].update(add_prefix_space=True))
    change(tmp_path, lambda values: values["post_processor"].update(add_prefix_space=True))
    with pytest.warns(TokenizerWarning, match=r"RoBERTa's .*add_prefix_space=True there, False in effect"):
        preprocessor = read(tmp_path)
    assert not preprocessor.vocabulary.config.add_prefix_space
    edit_json(tmp_path, "tokenizer_config.json", add_prefix_space=True)
    assert read(tmp_path).vocabulary.config.add_prefix_space


def test_a_vocabulary_beside_the_tokenizer_that_differs_is_named(tmp_path: Path) -> None:
    byte_level.write_older_files(tmp_path)
    byte_level.write_tokenizer(tmp_path, "roberta")
    read(tmp_path)
    change(tmp_path, lambda ids: ids.update({"Ġunheard": ids.pop("Ġthe")}), "vocab.json")
    with pytest.warns(TokenizerWarning, match=r"vocab.json` and .*tokenizer.json` differ in 2 tokens"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda path: (path / "merges.txt").unlink(), r"vocab.json` needs the merges"),
        (
            lambda path: append(path, "Ġ unheard\n"),
            r"merges.txt` must be two tokens .*'Ġ unheard' in line \d+",
        ),
        (lambda path: append(path, "a b c\n"), r"merges.txt` must be two tokens .*'a b c' in line"),
        (
            lambda path: change(path, lambda ids: ids.update(a="1"), "vocab.json"),
            "an object from token to id",
        ),
        (lambda path: change(path, lambda ids: ids.update(a=ids["b"]), "vocab.json"), "an id of its own"),
        (lambda path: change(path, lambda ids: ids.pop("<s>"), "vocab.json"), r"vocab.json` .* lacks <s>"),
        (lambda path: (path / "vocab.json").write_text("[1]"), r"vocab.json`"),
        (
            lambda path: (path / "tokenizer_config.json").write_text('{"trim_offsets": "no"}'),
            r"tokenizer_config.json`: `trim_offsets` must be true or false",
        ),
    ],
)
def test_older_files_that_do_not_fit_are_named(
    tmp_path: Path, edit: Callable[[Path], object], message: str
) -> None:
    byte_level.write_older_files(tmp_path)
    edit(tmp_path)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("merge", [3, ["a"], ["a", "b", "c"], "a", None])
def test_merges_that_are_no_pairs_are_named(tmp_path: Path, merge: Any) -> None:
    byte_level.write_tokenizer(tmp_path, "roberta")
    change(tmp_path, lambda values: values["model"]["merges"].append(merge))
    with pytest.raises(ConfigError, match=r"tokenizer.json`: `model.merges` must be pairs of tokens"):
        read(tmp_path)


def append(directory: Path, line: str) -> None:
    with (directory / "merges.txt").open("a", encoding="utf-8") as stream:
        stream.write(line)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda values: values["model"].update(byte_fallback=True), None),
        (lambda values: values["model"].update(dropout=0.1), r"`model.dropout` must be None. Received: 0.1"),
        (lambda values: values["model"].update(ignore_merges=True), r"`model.ignore_merges` must be False"),
        (
            lambda values: values["model"].update(end_of_word_suffix="</w>"),
            r"`model.end_of_word_suffix` must be ''",
        ),
        (
            lambda values: values.update(normalizer={"type": "NFKC"}),
            r"NFC or null. Received: normalizer.type='NFKC'",
        ),
        (
            lambda values: values["pre_tokenizer"].update(use_regex=False),
            r"`pre_tokenizer.use_regex` must be True",
        ),
        (lambda values: values.update(post_processor=None), r"`post_processor` must put a class token"),
    ],
)
def test_what_a_generic_file_says_otherwise_is_named(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str | None
) -> None:
    byte_level.write_tokenizer(tmp_path, "modernbert")
    change(tmp_path, edit)
    if message is None:  # every byte is a token: nothing falls back
        read(tmp_path, "modernbert")
        return
    config = ModelConfig(vocab_size=byte_level.SIZE + 40, model_type="modernbert", pad_token_id=1)
    with pytest.warns(TokenizerWarning, match=rf"tokenizer.json`: .*{message}.*token ids instead"):
        assert read_preprocessor(tmp_path, config) is None
