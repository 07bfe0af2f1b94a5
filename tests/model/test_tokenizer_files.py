"""Vocabularies in a model directory: where they may stand, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reference.model_directory import edit_json

from tf_mlm.config import ConfigError
from tf_mlm.model.checkpoint import load, save
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.tensor_files import CheckpointError
from tf_mlm.model.tokenizer_files import TokenizerWarning


def test_a_vocabulary_of_another_length_is_refused(directory: Path) -> None:
    lines = (directory / "vocab.txt").read_text().splitlines()
    for changed in (lines[:-1], [*lines, "extra"]):
        (directory / "vocab.txt").write_text("\n".join(changed) + "\n")
        message = rf"one token per row.*{len(changed)} tokens in `.*vocab.txt`, vocab_size=21"
        with pytest.raises(CheckpointError, match=message):
            load(directory)


def test_a_repeated_vocabulary_line_is_named(directory: Path) -> None:
    lines = (directory / "vocab.txt").read_text().splitlines()
    lines[12] = lines[7]
    (directory / "vocab.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"vocab.txt`.*line 13"):
        load(directory)


def test_carriage_returns_do_not_count(tiny_model: MaskedLM, directory: Path) -> None:
    content = (directory / "vocab.txt").read_bytes()
    (directory / "vocab.txt").write_bytes(content.replace(b"\n", b"\r\n"))
    assert load(directory).preprocessor.vocabulary == tiny_model.preprocessor.vocabulary


def test_the_vocabulary_may_be_inside_tokenizer_json(tiny_model: MaskedLM, directory: Path) -> None:
    tokens = (directory / "vocab.txt").read_text().splitlines()
    (directory / "vocab.txt").unlink()
    model = {"type": "WordPiece", "vocab": {token: index for index, token in enumerate(tokens)}}
    path = directory / "tokenizer.json"
    path.write_text(json.dumps({"model": model}))
    assert load(directory).preprocessor.vocabulary == tiny_model.preprocessor.vocabulary
    model["vocab"][tokens[-1]] = 100
    path.write_text(json.dumps({"model": model}))
    with pytest.raises(
        ConfigError, match=r"tokenizer.json`: token ids must be 0, 1, 2.*id 100 where 20 was due"
    ):
        load(directory)
    path.write_text(json.dumps({"model": {"type": "BPE"}}))
    with pytest.raises(ConfigError, match=r"tokenizer.json` must hold a WordPiece model"):
        load(directory)


def test_special_tokens_may_be_objects_or_in_their_own_file(directory: Path) -> None:
    lines = (directory / "vocab.txt").read_text().replace("[MASK]", "<mask>")
    (directory / "vocab.txt").write_text(lines)
    values = json.loads((directory / "tokenizer_config.json").read_text())
    del values["mask_token"]
    (directory / "tokenizer_config.json").write_text(json.dumps(values))
    (directory / "special_tokens_map.json").write_text(
        json.dumps({"mask_token": {"content": "<mask>", "lstrip": False}, "unk_token": None})
    )
    assert load(directory).preprocessor.vocabulary.config.mask_token == "<mask>"
    edit_json(directory, "tokenizer_config.json", mask_token=7)
    with pytest.raises(ConfigError, match=r"`mask_token` must be a string. Received: 7"):
        load(directory)


def test_another_kind_of_tokenizer_leaves_the_weights(directory: Path) -> None:
    edit_json(directory, "tokenizer_config.json", tokenizer_class="BertJapaneseTokenizer")
    with pytest.warns(TokenizerWarning, match=r"not WordPiece .*BertJapaneseTokenizer.*token ids instead"):
        assert load(directory).preprocessor is None


def test_a_generic_tokenizer_is_what_its_file_says(tiny_model: MaskedLM, directory: Path) -> None:
    vocab = {token: index for index, token in enumerate((directory / "vocab.txt").read_text().split())}
    serialised = {
        "normalizer": {"type": "BertNormalizer", "lowercase": False, "strip_accents": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "vocab": vocab},
    }
    (directory / "tokenizer.json").write_text(json.dumps(serialised))
    edit_json(
        directory, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True
    )
    loaded = load(directory)
    config = loaded.preprocessor.vocabulary.config
    assert (config.do_lower_case, config.strip_accents) == (False, True)
    save(loaded, directory)  # without tokenizer.json the class must say what it is
    written = json.loads((directory / "tokenizer_config.json").read_text())
    assert (written["tokenizer_class"], written["do_lower_case"]) == ("BertTokenizer", False)
    edit_json(directory, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    serialised["normalizer"]["type"] = "NFKC"
    (directory / "tokenizer.json").write_text(json.dumps(serialised))
    with pytest.warns(TokenizerWarning, match="not WordPiece .*PreTrainedTokenizerFast"):
        assert load(directory).preprocessor is None


def test_tokens_added_later_are_named(directory: Path) -> None:
    added = {"4": {"content": "[MASK]"}, "20": {"content": "covid"}}
    edit_json(directory, "tokenizer_config.json", added_tokens_decoder=added)
    with pytest.warns(TokenizerWarning, match=r"added to it anywhere .* Received: covid\."):
        load(directory)
    lines = (directory / "vocab.txt").read_text().splitlines()
    (directory / "vocab.txt").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(
        CheckpointError, match=r"20 tokens in .*vocab.txt.* added to the tokenizer later \(covid\)"
    ):
        load(directory)


def test_settings_of_the_tokenizer_have_their_types(directory: Path) -> None:
    edit_json(directory, "tokenizer_config.json", do_lower_case=None)
    assert load(directory).preprocessor.vocabulary.config.do_lower_case
    edit_json(directory, "tokenizer_config.json", do_lower_case="false")
    with pytest.raises(ConfigError, match=r"tokenizer_config.json`: `do_lower_case` must be true or false"):
        load(directory)
