"""The tokenizer files of a model directory, parsed, with what the older ones add to the newer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_mlm.config import ModelConfig, read_json
from tf_mlm.errors import ConfigError, UnsupportedTokenizerError
from tf_mlm.model.directory.tokenizer_keys import (
    BERT_CLASSES,
    BERT_MODELS,
    ESM_CLASSES,
    GENERIC_CLASSES,
    JIEBA_CLASSES,
    MPNET_CLASSES,
    ROBERTA_CLASSES,
    ROBERTA_MODELS,
    SPECIAL_NAMES,
    UNIGRAM_CLASSES,
    UNIGRAM_MODELS,
)

if TYPE_CHECKING:
    from tokenizers import AddedToken as LibraryToken

VOCABULARY = "vocab.txt"
BPE_VOCABULARY, MERGES = "vocab.json", "merges.txt"
SENTENCEPIECE_MODELS = {
    "xlm-roberta": "sentencepiece.bpe.model",
    "camembert": "sentencepiece.bpe.model",
    "albert": "spiece.model",
    "deberta-v2": "spm.model",
}
"""What the class of each kind calls its file."""
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
SENTENCE_TRANSFORMERS = "sentence_bert_config.json"


class TokenizerFiles:
    """The tokenizer files of a directory that are there, parsed.

    Attributes:
        values: `tokenizer_config.json`, and what `special_tokens_map.json` puts over it.
        added: the added tokens with the ids that the files state, or None if `tokenizer.json` alone has any.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stated = self.json(TOKENIZER_CONFIG) or {}
        self.serialised = self.json(TOKENIZER)
        self.values = dict(self.stated)
        self.added = self._added_tokens()

    def path(self, name: str) -> Path:
        return self.directory / name

    @property
    def of_tokens(self) -> Path:
        """The file that holds the vocabulary."""
        if self.serialised is not None:
            return self.path(TOKENIZER)
        names = (VOCABULARY, BPE_VOCABULARY, *SENTENCEPIECE_MODELS.values())
        return next((self.path(name) for name in names if self.path(name).is_file()), self.path(TOKENIZER))

    def json(self, name: str) -> dict[str, Any] | None:
        return read_json(self.path(name)) if self.path(name).is_file() else None

    def _added_tokens(self) -> dict[int, LibraryToken]:
        """By stated id; merges `special_tokens_map.json` into `values` where transformers does."""
        if not self.values.get("extra_special_tokens") and "additional_special_tokens" in self.values:
            self.values["extra_special_tokens"] = self.values.pop("additional_special_tokens")
        where = f"`{self.path(TOKENIZER_CONFIG)}`: `added_tokens_decoder`"
        if (decoder := self.values.get("added_tokens_decoder")) is not None:
            if not isinstance(decoder, Mapping):
                raise ConfigError(f"{where} must be an object from id to token. Received: {decoder!r}.")
            return {index_of(index, where): token_of(token, where) for index, token in decoder.items()}
        for key, value in (self.json(SPECIAL_TOKENS) or {}).items():
            if key == "extra_special_tokens" and isinstance(value, list):
                value = [*(self.values.get(key) or []), *value]
            elif key == "additional_special_tokens" and not self.values.get("extra_special_tokens"):
                key = "extra_special_tokens"
            if value is not None:
                self.values[key] = value
        added = {}
        specials = {content_of(self.values[name]) for name in SPECIAL_NAMES if self.values.get(name)}
        specials |= {content_of(token) for token in self.values.get("extra_special_tokens") or ()}
        where = f"`{self.path(ADDED_TOKENS)}`"
        for content, index in (self.json(ADDED_TOKENS) or {}).items():
            flags = {"normalized": content not in specials, "special": content in specials}
            added[index_of(index, where)] = token_of({"content": content, **flags}, where)
        where = f"`{self.path(TOKENIZER)}`: `added_tokens`"
        for entry in (self.serialised or {}).get("added_tokens") or []:
            if not isinstance(entry, Mapping):
                raise ConfigError(f"{where} must be a list of objects. Received: {entry!r}.")
            flags = {key: value for key, value in entry.items() if key != "id"}
            added[index_of(entry.get("id"), where)] = token_of(flags, where)
        return added


def kind_of(files: TokenizerFiles, config: ModelConfig) -> str | None:
    """`bert`, `esm`, `mpnet`, `roberta`, `generic`, one of `UNIGRAM_CLASSES`, or None for no tokenizer."""
    values, place = files.values, f"`{files.path(TOKENIZER_CONFIG)}`"
    name = values.get("tokenizer_class")
    if name is None and (name := config.extra.get("tokenizer_class")) is not None:
        place = f"`{files.directory / 'config.json'}`"
    name = str(name or "").removesuffix("Fast")
    has_tokens = files.serialised is not None or files.path(VOCABULARY).is_file()
    if name in GENERIC_CLASSES:
        if files.serialised is None:
            if not has_tokens:
                return None
            raise UnsupportedTokenizerError(
                f"{place} says tokenizer_class={name!r}, and transformers then asks for {TOKENIZER}, which "
                "is not there. Add it, or say BertTokenizer if that is what it is."
            )
        return "generic"
    if name in ROBERTA_CLASSES or (not name and config.model_type in ROBERTA_MODELS):
        has_tokens = files.serialised is not None or files.path(BPE_VOCABULARY).is_file()
        return "roberta" if has_tokens else None
    if name in ESM_CLASSES or (not name and config.model_type == "esm"):
        return "esm" if files.path(VOCABULARY).is_file() else None
    for kind, classes in UNIGRAM_CLASSES.items():
        if name in classes or (not name and UNIGRAM_MODELS.get(config.model_type) == kind):
            model = SENTENCEPIECE_MODELS[kind]
            return kind if files.serialised is not None or files.path(model).is_file() else None
    if name in BERT_CLASSES or (not name and config.model_type in BERT_MODELS):
        return "bert" if has_tokens else None
    if name in MPNET_CLASSES or (not name and config.model_type == "mpnet"):
        return "mpnet" if has_tokens else None
    if name in JIEBA_CLASSES or (not name and config.model_type == "roformer"):
        if not has_tokens:
            return None
        raise UnsupportedTokenizerError(
            f"{place} belongs to {JIEBA_CLASSES[0]}, which cuts Chinese with the dictionary of jieba; no "
            "server has that. If the model was trained with BERT's tokenizer, say "
            "tokenizer_class=BertTokenizer."
        )
    if name:
        raise UnsupportedTokenizerError(
            f"{place} belongs to a tokenizer that is not known here: tokenizer_class={name!r}."
        )
    raise UnsupportedTokenizerError(
        f"`{files.directory}` belongs to a tokenizer that is not known here "
        f"(model_type={config.model_type}), or does not say which: {TOKENIZER_CONFIG} has no tokenizer_class."
    )


def token_of(value: Any, where: str, special: bool = False) -> LibraryToken:
    """A token of the library from a string or an object; `special` is the default where no class wrote it."""
    from tokenizers import AddedToken as LibraryToken

    values = {"content": value} if isinstance(value, str) else value
    if isinstance(values, Mapping):
        special = special and "__type" not in values
        values = {key: item for key, item in values.items() if key != "__type"}
        try:
            made: LibraryToken | None = LibraryToken(**{"special": special, **values})  # type: ignore[arg-type]
        except TypeError:
            made = None
        if made is not None and made.content:
            return made
    raise ConfigError(f"{where} must be a string or an object with `content`. Received: {value!r}.")


def content_of(value: Any) -> Any:
    """The spelling of a token that is a string or an object."""
    return value.get("content") if isinstance(value, Mapping) else value


def index_of(value: Any, where: str) -> int:
    """An id, or a `ConfigError` that says where it stands."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{where} must have whole numbers as ids. Received: {value!r}.") from None
