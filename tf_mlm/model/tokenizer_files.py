"""The tokenizer files of a model directory: `vocab.txt` or `tokenizer.json`, and `tokenizer_config.json`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_mlm.config import ConfigError, ModelConfig, TokenizerConfig, from_json, read_json, to_json
from tf_mlm.model.tensor_files import CheckpointError, write_atomically, write_json
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary

VOCABULARY = "vocab.txt"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"

_WORDPIECE_CLASSES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
_GENERIC_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")  # these are whatever tokenizer.json says
_SPECIAL_NAMES = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class TokenizerWarning(UserWarning):
    """The directory's tokenizer, or a token added to it, has no counterpart here."""


def read_preprocessor(directory: Path, config: ModelConfig) -> TextPreprocessor | None:
    """The preprocessor that the directory's files describe, or None when there are none.

    Raises:
        ConfigError: when a file is malformed.
        CheckpointError: when the vocabulary has not one token per row of the embedding.
    """
    values = _tokenizer_config(directory)
    if config.model_type in ("roberta", "xlm-roberta") or not _is_wordpiece(directory, values):
        warnings.warn(
            f"`{directory}` belongs to a tokenizer that is not WordPiece (model_type={config.model_type}, "
            f"tokenizer_class={values.get('tokenizer_class')}). The weights load; give the model token ids "
            "instead of strings.",
            TokenizerWarning,
            stacklevel=3,
        )
        return None
    try:
        tokenizer_config = from_json(TokenizerConfig, values)
    except ConfigError as error:
        raise ConfigError(f"`{directory / TOKENIZER_CONFIG}`: {error}") from error
    vocabulary = _read_vocabulary(directory, tokenizer_config)
    if vocabulary is None:
        return None
    added = sorted(_added_tokens(directory, values) - set(vocabulary.config.special_tokens))
    if vocabulary.size != config.vocab_size:
        path = directory / (VOCABULARY if (directory / VOCABULARY).is_file() else TOKENIZER)
        later = (
            f" Tokens were added to the tokenizer later ({', '.join(added)}): so do they." if added else ""
        )
        raise CheckpointError(
            "The vocabulary must have one token per row of the embedding. "
            f"Received: {vocabulary.size} tokens in `{path}`, vocab_size={config.vocab_size} in "
            f"`{directory / 'config.json'}`. Restore the vocabulary the model was trained with; rows that "
            f"only pad the table need lines of their own in {VOCABULARY}, such as [unused0].{later}"
        )
    if added:
        warnings.warn(
            f"The tokenizer in `{directory}` finds tokens added to it anywhere in a text; here they are "
            f"ordinary text, so that texts with them give other ids. Received: {', '.join(added)}.",
            TokenizerWarning,
            stacklevel=3,
        )
    return TextPreprocessor(vocabulary, max_length=config.max_length)


def write_preprocessor(preprocessor: TextPreprocessor, directory: Path, config: ModelConfig) -> None:
    """Writes `vocab.txt` and `tokenizer_config.json`, and removes what would contradict them.

    transformers prefers a `tokenizer.json` over `vocab.txt`; one left behind by an earlier model in the
    same directory would silently be another tokenizer.
    """
    vocabulary = preprocessor.vocabulary
    write_atomically(directory / VOCABULARY, vocabulary.write)
    values = {"model_max_length": config.max_length, **to_json(vocabulary.config)}
    if _class_of(values) not in _WORDPIECE_CLASSES:
        values["tokenizer_class"] = _WORDPIECE_CLASSES[0]
    write_json(directory / TOKENIZER_CONFIG, values)
    for stale in (TOKENIZER, SPECIAL_TOKENS, "added_tokens.json"):
        (directory / stale).unlink(missing_ok=True)


def _tokenizer_config(directory: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in (SPECIAL_TOKENS, TOKENIZER_CONFIG):  # the second one wins
        if (directory / name).is_file():
            values.update(read_json(directory / name))
    for name in ("do_lower_case", "tokenize_chinese_chars"):
        if values.get(name, True) is None:  # null means the default
            del values[name]
    for name in _SPECIAL_NAMES:
        token = values.get(name)
        if isinstance(token, Mapping):  # a serialised AddedToken
            values[name] = token.get("content")
        if values.get(name) is None:
            values.pop(name, None)
        elif not isinstance(values[name], str):
            raise ConfigError(
                f"`{directory / TOKENIZER_CONFIG}`: `{name}` must be a string. Received: {values[name]!r}."
            )
    return values


def _class_of(values: Mapping[str, Any]) -> str:
    return str(values.get("tokenizer_class") or "").removesuffix("Fast")


def _is_wordpiece(directory: Path, values: dict[str, Any]) -> bool:
    """Whether the tokenizer is BERT's; a generic one's settings are put into `values`."""
    name = _class_of(values)
    path = directory / TOKENIZER
    if name not in _GENERIC_CLASSES or not path.is_file():
        return name in ("", *_WORDPIECE_CLASSES, *_GENERIC_CLASSES)
    serialised = read_json(path)
    kinds = {"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer", "model": "WordPiece"}
    parts = {part: serialised.get(part) for part in kinds}
    if any(
        not isinstance(value, Mapping) or value.get("type") != kinds[part] for part, value in parts.items()
    ):
        return False
    normalizer = serialised["normalizer"]
    values["do_lower_case"] = normalizer.get("lowercase", True)
    values["strip_accents"] = normalizer.get("strip_accents")
    values["tokenize_chinese_chars"] = normalizer.get("handle_chinese_chars", True)
    return True


def _added_tokens(directory: Path, values: Mapping[str, Any]) -> set[str]:
    """What was added to the tokenizer, the special tokens among it."""
    path = directory / TOKENIZER
    entries = read_json(path).get("added_tokens") if path.is_file() else None
    if entries is None:  # written without tokenizer.json
        entries = (values.get("added_tokens_decoder") or {}).values()
    return {entry["content"] for entry in entries if isinstance(entry, Mapping) and "content" in entry}


def _read_vocabulary(directory: Path, config: TokenizerConfig) -> Vocabulary | None:
    if (directory / VOCABULARY).is_file():
        return Vocabulary.read(directory / VOCABULARY, config)
    path = directory / TOKENIZER
    if not path.is_file():
        return None
    # transformers 5 writes no vocab.txt: the tokens are inside tokenizer.json.
    model = read_json(path).get("model")
    if (
        not isinstance(model, dict)
        or model.get("type") != "WordPiece"
        or not isinstance(model.get("vocab"), dict)
    ):
        raise ConfigError(
            f"`{path}` must hold a WordPiece model with its `vocab`. Add a {VOCABULARY} instead."
        )
    ids = model["vocab"]
    tokens = sorted(ids, key=ids.__getitem__)
    for expected, token in enumerate(tokens):
        if ids[token] != expected:
            raise ConfigError(
                f"`{path}`: token ids must be 0, 1, 2 and so on without a gap or repeat. "
                f"Received: {token!r} with id {ids[token]} where {expected} was due."
            )
    try:
        return Vocabulary(tokens, config)
    except ConfigError as error:
        raise ConfigError(f"`{path}`: {error}") from error
