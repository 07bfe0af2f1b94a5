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

_WORDPIECE_CLASSES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "PreTrainedTokenizer")
_SPECIAL_NAMES = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class TokenizerWarning(UserWarning):
    """The directory's tokenizer has no counterpart here: the model loads without a preprocessor."""


def read_preprocessor(directory: Path, config: ModelConfig) -> TextPreprocessor | None:
    """The preprocessor that the directory's files describe, or None when there are none.

    Raises:
        ConfigError: when a file is malformed.
        CheckpointError: when the vocabulary has not one token per row of the embedding.
    """
    values = _tokenizer_config(directory)
    name = str(values.get("tokenizer_class") or "BertTokenizer").removesuffix("Fast")
    if config.model_type in ("roberta", "xlm-roberta") or name not in _WORDPIECE_CLASSES:
        warnings.warn(
            f"`{directory}` belongs to a tokenizer that is not WordPiece (model_type={config.model_type}, "
            f"tokenizer_class={values.get('tokenizer_class')}). The weights load; give the model token ids "
            "instead of strings.",
            TokenizerWarning,
            stacklevel=3,
        )
        return None
    vocabulary = _read_vocabulary(directory, from_json(TokenizerConfig, values))
    if vocabulary is None:
        return None
    if vocabulary.size != config.vocab_size:
        path = directory / (VOCABULARY if (directory / VOCABULARY).is_file() else TOKENIZER)
        raise CheckpointError(
            "The vocabulary must have one token per row of the embedding. "
            f"Received: {vocabulary.size} tokens in `{path}`, vocab_size={config.vocab_size} in "
            f"`{directory / 'config.json'}`. Restore the vocabulary the model was trained with; rows that "
            "only pad the table need lines of their own, such as [unused0]."
        )
    return TextPreprocessor(vocabulary, max_length=config.max_length)


def write_preprocessor(preprocessor: TextPreprocessor, directory: Path, config: ModelConfig) -> None:
    """Writes `vocab.txt` and `tokenizer_config.json`, and removes what would contradict them.

    transformers prefers a `tokenizer.json` over `vocab.txt`; one left behind by an earlier model in the
    same directory would silently be another tokenizer.
    """
    vocabulary = preprocessor.vocabulary
    write_atomically(directory / VOCABULARY, vocabulary.write)
    defaults = {"tokenizer_class": "BertTokenizer", "model_max_length": config.max_length}
    write_json(directory / TOKENIZER_CONFIG, {**defaults, **to_json(vocabulary.config)})
    for stale in (TOKENIZER, SPECIAL_TOKENS, "added_tokens.json"):
        (directory / stale).unlink(missing_ok=True)


def _tokenizer_config(directory: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in (SPECIAL_TOKENS, TOKENIZER_CONFIG):  # the second one wins
        if (directory / name).is_file():
            values.update(read_json(directory / name))
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
