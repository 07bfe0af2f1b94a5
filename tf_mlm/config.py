"""Settings as frozen dataclasses: checked when they are made, equal to the JSON they came from.

The field names are those of Hugging Face's `config.json` and `tokenizer_config.json`, so a model
directory needs no translation. Only the standard library is imported here.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tf_mlm.errors import ConfigError

MODEL_TYPES = ("bert", "distilbert", "electra", "roberta", "xlm-roberta")
DTYPES = ("float32", "bfloat16", "mixed_bfloat16")


def _require(condition: bool, rule: str, **received: Any) -> None:
    if not condition:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise ConfigError(f"{rule} Received: {values}.")


def _require_whole(name: str, value: Any, *, least: int) -> None:
    _require(
        isinstance(value, int) and not isinstance(value, bool) and value >= least,
        f"`{name}` must be a whole number of at least {least}.",
        **{name: value},
    )


def _require_bool(name: str, value: Any) -> None:
    _require(isinstance(value, bool), f"`{name}` must be true or false.", **{name: value})


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of an encoder with its masked-LM head.

    `head_hidden_act` and `head_layer_norm_eps` are for heads that differ from their encoder, as
    KerasHub's do; None follows the family. transformers has no such keys and ignores them.

    `extra` keeps the keys of a `config.json` that this package does not use, so that saving
    a loaded model loses nothing.

    Raises:
        ConfigError: at construction, for sizes below one, heads that do not divide the hidden
            size, rates outside [0, 1) or an unknown `model_type`.

    Example:
        >>> from tf_mlm.config import ModelConfig
        >>> ModelConfig(vocab_size=100, hidden_size=32, num_attention_heads=4).head_size
        8
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    embedding_size: int | None = None
    tie_word_embeddings: bool = True
    model_type: str = "bert"
    head_hidden_act: str | None = None
    head_layer_norm_eps: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        ):
            _require_whole(name, getattr(self, name), least=1)
        for name in ("type_vocab_size", "pad_token_id"):
            _require_whole(name, getattr(self, name), least=0)
        if self.embedding_size is not None:
            _require_whole("embedding_size", self.embedding_size, least=1)
        _require(
            self.hidden_size % self.num_attention_heads == 0,
            "`num_attention_heads` must divide `hidden_size`; choose a number of heads that does.",
            hidden_size=self.hidden_size,
            num_attention_heads=self.num_attention_heads,
        )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            rate = getattr(self, name)
            _require(0 <= rate < 1, f"`{name}` must lie in [0, 1).", **{name: rate})
        _require(
            self.layer_norm_eps > 0, "`layer_norm_eps` must be positive.", layer_norm_eps=self.layer_norm_eps
        )
        _require(
            self.initializer_range > 0,
            "`initializer_range` must be positive.",
            initializer_range=self.initializer_range,
        )
        _require_bool("tie_word_embeddings", self.tie_word_embeddings)
        _require(
            self.pad_token_id < self.vocab_size,
            "`pad_token_id` must be an id of the vocabulary.",
            pad_token_id=self.pad_token_id,
            vocab_size=self.vocab_size,
        )
        _require(
            self.model_type in MODEL_TYPES,
            f"`model_type` must be one of {', '.join(MODEL_TYPES)}.",
            model_type=self.model_type,
        )
        _require(
            self.max_length >= 3,
            "`max_position_embeddings` must leave room for [CLS], one token and [SEP].",
            max_position_embeddings=self.max_position_embeddings,
        )

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def token_embedding_size(self) -> int:
        return self.embedding_size or self.hidden_size

    @property
    def position_offset(self) -> int:
        """RoBERTa counts positions from the one behind its padding id."""
        return self.pad_token_id + 1 if self.model_type in ("roberta", "xlm-roberta") else 0

    @property
    def max_length(self) -> int:
        """The most tokens, special ones included, that the position table has rows for."""
        return self.max_position_embeddings - self.position_offset


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text itself, before words are cut from it.

    The fields are those of `added_tokens` in Hugging Face's `tokenizer.json`.

    Args:
        content: its spelling.
        single_word: only where no letter, digit or underscore touches it.
        lstrip: takes the white space before it along.
        rstrip: takes the white space behind it along.
        normalized: looked for in the normalised text, spelt as normalisation leaves it.
        special: left out where special tokens are skipped, and never drawn as a mask.

    Raises:
        ConfigError: at construction, for an empty spelling or a flag that is not true or false.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False

    def __post_init__(self) -> None:
        _require(
            isinstance(self.content, str) and self.content != "",
            "`content` of an added token must be a string that is not empty.",
            content=self.content,
        )
        for name in ("single_word", "lstrip", "rstrip", "normalized", "special"):
            _require_bool(name, getattr(self, name))


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """How text is normalised and cut into word pieces, and the tokens found in it as they are.

    `strip_accents=None` follows `do_lower_case`, as BERT's own tokenizer does. `added_tokens` holds what is
    found beside the five special tokens, and those of the five that have flags of their own.
    `decoder_cleanup` takes the blanks before punctuation out of a decoded text; None joins the tokens by
    blanks as they are. `post_processor` is that of a `tokenizer.json` which puts two texts together unlike
    BERT.

    Raises:
        ConfigError: at construction, for a value of the wrong type or special tokens that are equal.
    """

    do_lower_case: bool = True
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool = True
    clean_text: bool = True
    max_input_chars_per_word: int = 100
    continuing_subword_prefix: str = "##"
    unk_token: str = "[UNK]"
    sep_token: str = "[SEP]"
    pad_token: str = "[PAD]"
    cls_token: str = "[CLS]"
    mask_token: str = "[MASK]"
    added_tokens: tuple[AddedToken, ...] = ()
    decoder_cleanup: bool | None = True
    post_processor: Mapping[str, Any] | None = dataclasses.field(default=None, hash=False)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("do_lower_case", "tokenize_chinese_chars", "clean_text"):
            _require_bool(name, getattr(self, name))
        for name in ("strip_accents", "decoder_cleanup"):
            if getattr(self, name) is not None:
                _require_bool(name, getattr(self, name))
        _require_whole("max_input_chars_per_word", self.max_input_chars_per_word, least=1)
        prefix = self.continuing_subword_prefix
        _require(
            isinstance(prefix, str) and prefix[:1] in tuple(string.punctuation),
            "`continuing_subword_prefix` must begin with a punctuation mark of ASCII, so that no word begins "
            "with it.",
            continuing_subword_prefix=prefix,
        )
        names = self.special_tokens
        _require(all(names), "Special tokens must not be empty.", special_tokens=names)
        _require(
            len(set(names)) == len(names), "Special tokens must differ from each other.", special_tokens=names
        )
        # A list of objects is what JSON makes of it.
        added = tuple(
            token if isinstance(token, AddedToken) else AddedToken(**token) for token in self.added_tokens
        )
        object.__setattr__(self, "added_tokens", added)
        contents = [token.content for token in added]
        _require(len(set(contents)) == len(contents), "Added tokens must differ.", added_tokens=contents)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return (self.pad_token, self.unk_token, self.cls_token, self.sep_token, self.mask_token)

    @property
    def found_tokens(self) -> tuple[AddedToken, ...]:
        """Every token that is found in a text as it is, the five special ones first."""
        added = {token.content: token for token in self.added_tokens}
        specials = [
            added.pop(name, AddedToken(name, normalized=False, special=True)) for name in self.special_tokens
        ]
        return (*specials, *added.values())

    @property
    def strips_accents(self) -> bool:
        return self.do_lower_case if self.strip_accents is None else self.strip_accents


def check_buckets(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """Bucket sizes as an ascending tuple of distinct positive integers, or a `ConfigError`."""
    buckets = tuple(sizes)
    _require(
        bool(buckets) and all(isinstance(size, int) and size >= 1 for size in buckets),
        f"`{name}` buckets must be one or more whole numbers of at least 1.",
        **{name: buckets},
    )
    _require(
        all(a < b for a, b in itertools.pairwise(buckets)),
        f"`{name}` buckets must be in strictly ascending order; sort them and drop repeats.",
        **{name: buckets},
    )
    return buckets


@dataclasses.dataclass(frozen=True)
class Buckets:
    """The shapes XLA may see. Everything else is rounded up to one of them in the graph.

    `batch` and `length` bound the encoder. `masks` bounds the head: it counts the masked
    positions of a whole request, over all its texts.
    """

    batch: tuple[int, ...] = (1, 4, 16, 32)
    length: tuple[int, ...] = (16, 32, 64, 128)
    masks: tuple[int, ...] = (1, 4, 16, 64)

    def __post_init__(self) -> None:
        for name in ("batch", "length", "masks"):
            object.__setattr__(self, name, check_buckets(name, getattr(self, name)))


@dataclasses.dataclass(frozen=True)
class Limits:
    """The most that one request to an export may ask for; what asks for more is refused by name.

    Attributes:
        bytes: of all texts and targets of a request together.
        tokens: texts times the tokens of the longest one, as they come back padded to it.
        copies: tokens that `pseudo_log_likelihood` masks, each in a copy of its text (or of the window
            of it that fits the model).
        values: numbers of an answer, such as masks times words of the vocabulary.

    Raises:
        ConfigError: at construction, for a limit below 1.

    Example:
        >>> from tf_mlm.config import Limits
        >>> Limits(tokens=1000).copies
        65536
    """

    bytes: int = 1 << 22
    tokens: int = 1 << 20
    copies: int = 1 << 16
    values: int = 1 << 26

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _require_whole(field.name, getattr(self, field.name), least=1)


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass of this module as a JSON object; `extra` keys are put back where they came from."""
    values = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }
    extra: dict[str, Any] = dict(values.pop("extra", {}))
    return {**extra, **values}


Config = TypeVar("Config")


def from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """The dataclass that `to_json` wrote; keys it does not know are kept in `extra`."""
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    known = {key: value for key, value in values.items() if key in names and key != "extra"}
    if "extra" in names:
        known["extra"] = {key: value for key, value in values.items() if key not in names}
    return kind(**known)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or a `ConfigError` that names the file, line and column."""
    check_not_a_pointer(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"`{path}` does not exist. Give a directory that holds a {path.name}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` cannot be read: {error}.") from error
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"`{path}` is not valid JSON (line {error.lineno}, column {error.colno}): {error.msg}."
        ) from error
    _require(isinstance(value, dict), f"`{path}` must hold a JSON object.", type=type(value).__name__)
    return value


def check_not_a_pointer(path: Path) -> None:
    """Raises a `ConfigError` for a file that only names its content, as git-lfs leaves it, or has none."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
    except OSError:
        return  # whoever reads the file says so
    if start == _POINTER:
        raise ConfigError(
            f"`{path}` is a git-lfs pointer, not the file itself. Run `git lfs pull` in its directory, or "
            "download the file again."
        )
    if not start:
        raise ConfigError(f"`{path}` is empty. Copy or download it again.")


_POINTER = b"version https://git-lfs.github.com/spec/"
