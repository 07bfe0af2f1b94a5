"""Tokenizer files of a model directory: what counts, what has no effect, what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from reference.model_directory import edit_json

from tf_mlm.config import AddedToken
from tf_mlm.errors import CheckpointError, ConfigError, TokenizerWarning
from tf_mlm.model.directory.checkpoint import load, read_config, save
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary


def read(directory: Path) -> TextPreprocessor | None:
    """The preprocessor alone; any warning is an error, so that none comes unasked."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", TokenizerWarning)
        return read_preprocessor(directory, read_config(directory))


def vocabulary_of(directory: Path) -> Vocabulary:
    preprocessor = read(directory)
    assert preprocessor is not None
    return preprocessor.vocabulary


def edit_vocabulary(directory: Path, change: Any) -> None:
    path = directory / "vocab.txt"
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


def serialised(directory: Path, **parts: Any) -> dict[str, Any]:
    """A `tokenizer.json` of the directory's vocabulary, with other parts."""
    tokens = (directory / "vocab.txt").read_text().splitlines()
    ids = {token: index for index, token in enumerate(tokens)}
    template = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    second = [{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]
    special = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template,
            "pair": template + second,
            "special_tokens": special,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
        **parts,
    }


def make_generic(directory: Path, **parts: Any) -> None:
    (directory / "tokenizer.json").write_text(json.dumps(serialised(directory, **parts)))
    (directory / "vocab.txt").unlink()
    edit_json(directory, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def test_a_vocabulary_longer_than_the_embedding_is_refused(directory: Path) -> None:
    edit_vocabulary(directory, lambda lines: [*lines, "extra"])
    with pytest.raises(CheckpointError, match=r"more tokens .* 22 tokens in `.*vocab.txt`, vocab_size=21"):
        read(directory)
    edit_vocabulary(directory, lambda lines: lines[:-1])
    edit_json(directory, "tokenizer_config.json", additional_special_tokens=["<e1>"])
    with pytest.raises(CheckpointError, match=r"not to the model: <e1>\. Resize .*resize_token_embeddings"):
        read(directory)


def test_rows_that_pad_the_embedding_have_unused_names(directory: Path, tiny_model: MaskedLM) -> None:
    edit_json(directory, vocab_size=24)
    vocabulary = vocabulary_of(directory)
    assert vocabulary.tokens[20:] == ("?", "[unused21]", "[unused22]", "[unused23]")
    assert (vocabulary.unnamed_ids, vocabulary.pieces) == ({21, 22, 23}, 21)
    edit_json(directory, vocab_size=37)
    with pytest.warns(TokenizerWarning, match=r"vocab.txt` has 21 tokens, and the embedding 37 rows"):
        read_preprocessor(directory, read_config(directory))


def test_blank_and_repeated_lines_have_unused_names(directory: Path) -> None:
    edit_vocabulary(directory, lambda lines: [*lines[:7], "", *lines[8:12], lines[5], *lines[13:]])
    vocabulary = vocabulary_of(directory)
    assert (vocabulary.unnamed_ids, vocabulary.blank_id) == ({5}, 7)
    assert (vocabulary.tokens[7], vocabulary.id_of("the")) == ("[unused7]", 12)


def test_blanks_and_line_ends_do_not_count(tiny_model: MaskedLM, directory: Path) -> None:
    content = (directory / "vocab.txt").read_bytes()
    (directory / "vocab.txt").write_bytes(content.replace(b"\n", b" \t\r\n") + b"\n\n")
    assert tiny_model.preprocessor is not None
    assert vocabulary_of(directory) == tiny_model.preprocessor.vocabulary
    (directory / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + content)
    with pytest.warns(TokenizerWarning, match=r"vocab.txt` begins with a byte-order mark"):
        preprocessor = read_preprocessor(directory, read_config(directory))
    assert preprocessor is not None
    assert preprocessor.vocabulary == tiny_model.preprocessor.vocabulary


def test_the_vocabulary_may_be_inside_tokenizer_json(tiny_model: MaskedLM, directory: Path) -> None:
    values = serialised(directory)
    (directory / "tokenizer.json").write_text(json.dumps(values))
    (directory / "vocab.txt").unlink()
    assert tiny_model.preprocessor is not None
    assert vocabulary_of(directory) == tiny_model.preprocessor.vocabulary
    values["model"]["vocab"]["?"] = 100
    (directory / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"Received: 101 tokens in `.*tokenizer.json`"):
        read(directory)
    values["model"]["vocab"]["?"] = 7
    (directory / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"an id of its own.*tokenizer.json` gives 7 to .* and to "):
        read(directory)
    (directory / "tokenizer.json").write_text(json.dumps({**values, "model": {"type": "BPE", "vocab": {}}}))
    with pytest.raises(ConfigError, match=r"must hold a WordPiece model.*Received: model.type='BPE'"):
        read(directory)


def test_special_tokens_may_be_objects_or_in_their_own_file(directory: Path) -> None:
    edit_vocabulary(directory, lambda lines: [line.replace("[MASK]", "<mask>") for line in lines])
    mask = {"content": "<mask>", "lstrip": True, "normalized": False}
    (directory / "special_tokens_map.json").write_text(json.dumps({"mask_token": mask, "unk_token": None}))
    config = vocabulary_of(directory).config
    assert config.mask_token == "<mask>"
    assert config.added_tokens == (AddedToken("<mask>", lstrip=True, normalized=False, special=True),)
    (directory / "special_tokens_map.json").unlink()
    edit_json(directory, "tokenizer_config.json", mask_token=7)
    with pytest.raises(ConfigError, match=r"`mask_token` must be a string .*Received: 7"):
        read(directory)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_another_kind_of_tokenizer_leaves_the_weights(directory: Path, file: str) -> None:
    values = json.loads((directory / "tokenizer_config.json").read_text())
    del values["tokenizer_class"]
    (directory / "tokenizer_config.json").write_text(json.dumps(values))
    edit_json(directory, file, tokenizer_class="BertJapaneseTokenizer")
    message = rf"{file}` belongs to .*not known here.*BertJapaneseTokenizer.*token ids instead"
    with pytest.warns(TokenizerWarning, match=message):
        assert load(directory).preprocessor is None


def test_a_generic_tokenizer_is_what_its_file_says(directory: Path) -> None:
    edit_json(directory, "tokenizer_config.json", do_lower_case=True)
    normalizer = {"type": "BertNormalizer", "lowercase": False, "strip_accents": True, "clean_text": False}
    normalizer["handle_chinese_chars"] = False
    make_generic(directory, normalizer=normalizer, decoder=None)
    vocabulary = vocabulary_of(directory)
    config = vocabulary.config
    assert (config.do_lower_case, config.strip_accents) == (False, True)
    assert (config.clean_text, config.tokenize_chinese_chars) == (False, False)
    assert config.decoder_cleanup is None
    save(load(directory), directory)
    assert not (directory / "vocab.txt").exists()
    assert vocabulary_of(directory) == vocabulary


def test_a_generic_tokenizer_needs_its_file(directory: Path) -> None:
    edit_json(directory, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.warns(TokenizerWarning, match=r"asks for tokenizer.json, which is not there"):
        assert read_preprocessor(directory, read_config(directory)) is None


_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_LOWER = {"type": "Lowercase"}
_LONE = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"normalizer": {"type": "NFKC"}}, r"`normalizer` must be .*BertNormalizer or null.*type='NFKC'"),
        ({"normalizer": {"type": "Sequence", "normalizers": [_LOWER, _LOWER]}}, "type='Sequence'"),
        ({"pre_tokenizer": None}, r"`pre_tokenizer` must be .*type=None"),
        ({"pre_tokenizer": _BYTES}, r"pre_tokenizer.type='ByteLevel'"),
        ({"post_processor": None}, r"`post_processor` must put .*Received: none"),
        (
            {"post_processor": {**_LONE, "pair": _LONE["single"], "special_tokens": {}}},
            r"single` must be a class token, the text and a separator, of type 0\. Received: A:0",
        ),
        ({"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 9], "cls": ["[CLS]", 2]}}, "9 for"),
        ({"decoder": {"type": "WordPiece", "prefix": "@@", "cleanup": True}}, r"`decoder.prefix` must be"),
    ],
    ids=str,
)
def test_what_a_tokenizer_json_says_otherwise_is_named(
    directory: Path, parts: dict[str, Any], message: str
) -> None:
    make_generic(directory, **parts)
    with pytest.warns(
        TokenizerWarning, match=rf"tokenizer.json`: .*{message}.* token ids instead of strings"
    ):
        assert read_preprocessor(directory, read_config(directory)) is None


def test_a_broken_tokenizer_json_is_an_error(directory: Path) -> None:
    make_generic(directory, model={"type": "Unheard"})
    with pytest.raises(ConfigError, match=r"tokenizer.json` is not what the `tokenizers` library writes"):
        read(directory)


def test_pairs_of_another_kind_are_put_together_as_they_say(directory: Path) -> None:
    roberta = {"type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    make_generic(directory, post_processor={**roberta, "trim_offsets": False, "add_prefix_space": False})
    preprocessor = read(directory)
    assert preprocessor is not None
    assert preprocessor("the cat").token_ids.numpy().tolist() == [[2, 5, 6, 3]]
    pair = preprocessor("the cat", "the dog")
    assert pair.token_ids.numpy().tolist() == [[2, 5, 6, 3, 3, 5, 7, 3]]
    assert pair.segment_ids.numpy().tolist() == [[0] * 8]
    save(MaskedLM.from_config(read_config(directory), preprocessor=preprocessor), directory / "again")
    assert vocabulary_of(directory / "again") == preprocessor.vocabulary


def test_files_that_disagree_are_named(directory: Path) -> None:
    values = serialised(directory)
    values["normalizer"]["lowercase"] = False
    (directory / "tokenizer.json").write_text(json.dumps(values))
    edit_vocabulary(directory, lambda lines: [*lines[:-1], "!"])
    with pytest.warns(TokenizerWarning) as caught:
        preprocessor = read_preprocessor(directory, read_config(directory))
    differing, lower = sorted(
        str(warning.message) for warning in caught if warning.category is TokenizerWarning
    )
    assert "differ in 2 tokens, such as '!'" in differing or "differ in 2 tokens, such as '!'" in lower
    assert "do_lower_case=False there, True in effect" in differing + lower
    assert preprocessor is not None
    assert preprocessor.vocabulary.tokens[-1] == "?"
    assert preprocessor.vocabulary.config.do_lower_case


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mystery": 1, "other": 2}, r"tokenizer_config.json`: unknown keys have no effect.*mystery, other"),
        ({"do_basic_tokenize": False}, r"`do_basic_tokenize` has no effect.*Received: False"),
        ({"never_split": ["the"]}, r"`never_split` has no effect"),
        ({"max_input_chars_per_word": 5}, r"`max_input_chars_per_word` has no effect"),
        ({"truncation_side": "left"}, r"`truncation_side` is not followed.*Received: 'left'"),
        (
            {"added_tokens_decoder": {"9": {"content": "cat"}}},
            r"state the id 9 for .*'cat', but .* numbers it 6",
        ),
    ],
    ids=str,
)
def test_keys_without_effect_are_named(directory: Path, values: dict[str, Any], message: str) -> None:
    edit_json(directory, "tokenizer_config.json", **values)
    with pytest.warns(TokenizerWarning, match=message):
        assert read_preprocessor(directory, read_config(directory)) is not None


def test_added_tokens_that_another_file_hides_are_named(directory: Path) -> None:
    edit_json(directory, "tokenizer_config.json", added_tokens_decoder={"6": {"content": "cat"}})
    (directory / "added_tokens.json").write_text('{"dog": 7}')
    with pytest.warns(TokenizerWarning, match=r"has `added_tokens_decoder`, .*have no effect.*: dog"):
        read_preprocessor(directory, read_config(directory))


def test_special_tokens_that_are_to_be_split_are_refused(directory: Path) -> None:
    edit_json(directory, "tokenizer_config.json", split_special_tokens=True)
    with pytest.warns(TokenizerWarning, match=r"`split_special_tokens` must be false"):
        assert read_preprocessor(directory, read_config(directory)) is None


def test_added_tokens_come_and_go(directory: Path) -> None:
    flags = {"single_word": True, "lstrip": False, "rstrip": True, "normalized": False, "special": False}
    added = {"6": {"content": "cat", **flags}, "21": {"content": "New York"}}
    edit_json(directory, "tokenizer_config.json", added_tokens_decoder=added)
    edit_json(directory, vocab_size=24)
    vocabulary = vocabulary_of(directory)
    assert vocabulary.config.added_tokens == (AddedToken("cat", **flags), AddedToken("New York"))
    assert (vocabulary.id_of("New York"), vocabulary.pieces) == (21, 21)
    preprocessor = read(directory)
    assert preprocessor is not None
    found = preprocessor("the cat cats NEW YORK")
    assert found.token_ids.numpy().tolist() == [[2, 5, 6, 6, 18, 21, 3]]
    model = MaskedLM.from_config(read_config(directory), preprocessor=preprocessor)
    save(model, directory / "again")
    assert vocabulary_of(directory / "again") == vocabulary
    assert (directory / "again" / "vocab.txt").read_text() == (directory / "vocab.txt").read_text()


def test_the_tokenizers_own_limit_is_kept(directory: Path) -> None:
    edit_json(directory, "tokenizer_config.json", model_max_length=12)
    preprocessor = read(directory)
    assert preprocessor is not None
    assert preprocessor.max_length == 12
    edit_json(directory, "tokenizer_config.json", model_max_length=1e30)
    preprocessor = read(directory)
    assert preprocessor is not None
    assert preprocessor.max_length == 64


def test_settings_of_the_tokenizer_have_their_types(directory: Path) -> None:
    edit_json(directory, "tokenizer_config.json", do_lower_case=None)
    assert vocabulary_of(directory).config.do_lower_case
    edit_json(directory, "tokenizer_config.json", do_lower_case="false")
    with pytest.raises(ConfigError, match=r"tokenizer_config.json`: `do_lower_case` must be true or false"):
        read(directory)


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer_config.json", "config.json", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a git-lfs pointer.*git lfs pull"),
        (b"", "is empty"),
    ],
    ids=["pointer", "empty"],
)
def test_files_that_hold_nothing(directory: Path, name: str, content: bytes, message: str) -> None:
    (directory / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}` {message}"):
        load(directory)
