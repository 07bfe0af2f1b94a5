"""A `tokenizer.json`, key by key: which setting each one is, which values can be carried, and no others.

The table below names every key that the `tokenizers` library writes for the parts that are known here. A
part, a key or a value that does not stand in it is refused by its name: it might change token ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tf_mlm.config import AddedToken, TokenizerConfig
from tf_mlm.errors import ConfigError, UnsupportedTokenizerError
from tf_mlm.model.directory.post_processor import read_post_processor, unwrapped, write_post_processor
from tf_mlm.model.directory.sentencepiece_json import (
    is_sentencepiece,
    read_sentencepiece,
    write_sentencepiece,
)

_Values = Mapping[str, Any]


class Serialised(NamedTuple):
    """What a `tokenizer.json` says.

    Attributes:
        settings: fields of `TokenizerConfig`.
        ids: the id of each token that words are cut into.
        added_ids: the id of each added token.
        merges: for BPE, the pairs of tokens that become one.
        scores: for Unigram, by id.
    """

    settings: dict[str, Any]
    ids: dict[str, int]
    added_ids: dict[str, int]
    merges: Sequence[tuple[str, str]] = ()
    scores: Sequence[float] = ()


@dataclasses.dataclass(frozen=True)
class _Field:
    """A key that is the field `name` of `TokenizerConfig`."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Only:
    """A key that must have one of these values; the first of them is written."""

    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class _Any:
    """A key that changes nothing; `value` is written."""

    value: Any


@dataclasses.dataclass(frozen=True)
class _Part:
    """The keys of a part, and the settings that it stands for by being there."""

    keys: Mapping[str, _Field | _Only | _Any] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# For each kind of model the parts beside it, by their types; None is the absence of a part.
_KINDS: Mapping[str, Mapping[str, Mapping[str | None, _Part]]] = {
    "WordPiece": {
        "normalizer": {
            None: _Part(
                settings={
                    "clean_text": False,
                    "tokenize_chinese_chars": False,
                    "strip_accents": False,
                    "do_lower_case": False,
                }
            ),
            "BertNormalizer": _Part(
                {
                    "clean_text": _Field("clean_text"),
                    "handle_chinese_chars": _Field("tokenize_chinese_chars"),
                    "strip_accents": _Field("strip_accents"),
                    "lowercase": _Field("do_lower_case"),
                }
            ),
        },
        "pre_tokenizer": {"BertPreTokenizer": _Part()},
        "model": {
            "WordPiece": _Part(
                {
                    "unk_token": _Field("unk_token"),
                    "continuing_subword_prefix": _Field("continuing_subword_prefix"),
                    "max_input_chars_per_word": _Field("max_input_chars_per_word"),
                }
            )
        },
        "decoder": {
            None: _Part(settings={"decoder_cleanup": None}),
            "WordPiece": _Part(
                {"prefix": _Field("continuing_subword_prefix"), "cleanup": _Field("decoder_cleanup")}
            ),
        },
    },
    # Every byte is a token, so that nothing is unknown: what is said of that changes nothing.
    "BPE": {
        "normalizer": {None: _Part(settings={"nfc": False}), "NFC": _Part(settings={"nfc": True})},
        "pre_tokenizer": {
            "ByteLevel": _Part(
                {
                    "add_prefix_space": _Field("add_prefix_space"),
                    "trim_offsets": _Any(True),  # that of the post-processor counts
                    "use_regex": _Only((True,)),
                }
            )
        },
        "model": {
            "BPE": _Part(
                {
                    "dropout": _Only((None,)),
                    "unk_token": _Any(None),
                    "continuing_subword_prefix": _Only(("", None)),
                    "end_of_word_suffix": _Only(("", None)),
                    "fuse_unk": _Any(False),
                    "byte_fallback": _Any(False),
                    "ignore_merges": _Only((False,)),
                },
                {"model": "BPE", "do_lower_case": False},
            )
        },
        "decoder": {
            None: _Part(settings={"decoder_cleanup": None}),
            "ByteLevel": _Part(
                {name: _Any(True) for name in ("add_prefix_space", "trim_offsets", "use_regex")},
                {"decoder_cleanup": False},
            ),
        },
    },
}
_PARTS = ("normalizer", "pre_tokenizer", "model", "decoder")
# transformers sets both anew for each call, whatever the file says.
_IGNORED = ("version", "truncation", "padding")


def read_tokenizer_json(values: _Values) -> Serialised:
    """What a parsed `tokenizer.json` says, all of it.

    Raises:
        UnsupportedTokenizerError: for a part, key or value that has no counterpart here.
        ConfigError: for a value of the wrong type.
    """
    model = values.get("model")
    kind = model.get("type") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or kind is None or kind not in (*_KINDS, "Unigram"):
        raise UnsupportedTokenizerError(
            f"`model` must be of a kind that is known here: {', '.join((*_KINDS, 'Unigram'))}. "
            f"Received: model.type={kind!r}."
        )
    of_sentencepiece = read_sentencepiece(values) if is_sentencepiece(values) else None
    parts = _KINDS.get(kind, {}) if of_sentencepiece is None else {}
    unknown = sorted(set(values) - {*_PARTS, "added_tokens", "post_processor", *_IGNORED})
    if unknown:
        raise UnsupportedTokenizerError(f"The key `{unknown[0]}` is not known here.")
    added_tokens = _added_tokens(values.get("added_tokens") or [])
    settings: dict[str, Any] = {"added_tokens": tuple(token for token, _ in added_tokens)}
    for name, types in parts.items():
        found = _read_part(name, values.get(name), types, besides=("vocab", "merges"))
        prefix = settings.get("continuing_subword_prefix")
        if name == "decoder" and found.get("continuing_subword_prefix", prefix) != prefix:
            raise UnsupportedTokenizerError(
                f"`decoder.prefix` must be the model's `continuing_subword_prefix`, {prefix!r}. "
                f"Received: {found['continuing_subword_prefix']!r}."
            )
        settings.update(found)
    if of_sentencepiece is not None:
        settings |= of_sentencepiece.settings
    ids = _ids(model.get("vocab")) if of_sentencepiece is None else of_sentencepiece.ids
    added_ids = {token.content: index for token, index in added_tokens}
    wrapped = read_post_processor(values.get("post_processor"))
    for token, index in wrapped.ids.items():
        known = ids.get(token, added_ids.get(token))
        if known != index:
            raise UnsupportedTokenizerError(
                f"`post_processor` must put in the id of its token. Received: {index} for {token!r}, "
                f"which {f'is {known}' if known is not None else 'is no token'} in the vocabulary."
            )
    settings |= {"cls_token": wrapped.cls_token, "sep_token": wrapped.sep_token, "pair": wrapped.pair}
    if of_sentencepiece is not None:
        merges = merge_pairs(model.get("merges"))
        return Serialised(settings, ids, added_ids, merges, of_sentencepiece.scores)
    if kind == "BPE":
        settings["trim_offsets"] = bool(wrapped.trims)
        if wrapped.trims and wrapped.add_prefix_space != settings["add_prefix_space"]:
            raise UnsupportedTokenizerError(
                "`pre_tokenizer` and `post_processor` must agree in `add_prefix_space`. Received: "
                f"{settings['add_prefix_space']} and {wrapped.add_prefix_space}."
            )
        return Serialised(settings, ids, added_ids, merge_pairs(model.get("merges")))
    return Serialised(settings, ids, added_ids)


def write_tokenizer_json(
    config: TokenizerConfig,
    ids: Mapping[str, int],
    all_ids: Mapping[str, int],
    merges: Sequence[tuple[str, str]] = (),
    scores: Sequence[float] = (),
) -> dict[str, Any]:
    """The `tokenizer.json` that `read_tokenizer_json` reads back.

    Args:
        config: its settings.
        ids: the id of each token that words are cut into.
        all_ids: the id of every token, added ones included.
        merges: for BPE, the pairs of tokens that become one.
        scores: for Unigram, by id.
    """

    def part(types: Mapping[str | None, _Part]) -> dict[str, Any] | None:
        kind, found = next(
            (kind, part)
            for kind, part in types.items()
            if all(getattr(config, name) == value for name, value in part.settings.items())
        )
        return (
            None
            if kind is None
            else {"type": kind, **{k: _written(r, config) for k, r in found.keys.items()}}
        )

    if config.model in _KINDS:
        values = {name: part(types) for name, types in _KINDS[config.model].items()}
        model = {**(values.pop("model") or {}), "vocab": dict(ids)}
    else:
        values, model = write_sentencepiece(config, ids, scores)
    if model["type"] == "BPE":
        model["merges"] = [list(pair) for pair in merges]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": all_ids[token.content], **dataclasses.asdict(token)}
            for token in sorted(config.found_tokens, key=lambda token: all_ids[token.content])
        ],
        **values,
        "post_processor": write_post_processor(config, all_ids),
        "model": model,
    }


def _written(rule: _Field | _Only | _Any, config: TokenizerConfig) -> Any:
    if isinstance(rule, _Field):
        return getattr(config, rule.name)
    return rule.values[0] if isinstance(rule, _Only) else rule.value


def _read_part(
    name: str, part: Any, types: Mapping[str | None, _Part], besides: Sequence[str] = ()
) -> dict[str, Any]:
    """The settings of one part, or the refusal of it."""
    part = unwrapped(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if part is not None and not isinstance(part, Mapping):
        raise ConfigError(f"`{name}` must be an object or null. Received: {part!r}.")
    if kind not in types:
        known = ", ".join(str(known) for known in types if known)
        raise UnsupportedTokenizerError(
            f"`{name}` must be of a kind that is known here: {known}{' or null' if None in types else ''}. "
            f"Received: {name}.type={kind!r}."
        )
    settings = dict(types[kind].settings)
    for key, value in (part or {}).items():
        rule = types[kind].keys.get(key)
        if isinstance(rule, _Field):
            settings[rule.name] = value
        elif isinstance(rule, _Only) and value not in rule.values:
            raise UnsupportedTokenizerError(
                f"`{name}.{key}` must be {rule.values[0]!r}. Received: {value!r}."
            )
        elif rule is None and key not in ("type", *besides):
            raise UnsupportedTokenizerError(f"The key `{name}.{key}` is not known here. Received: {value!r}.")
    return settings


def _ids(vocab: Any) -> dict[str, int]:
    if not isinstance(vocab, Mapping) or not all(
        isinstance(index, int) and not isinstance(index, bool) for index in vocab.values()
    ):
        raise ConfigError("`model.vocab` must be an object from token to id.")
    return dict(vocab)


def merge_pairs(merges: Any) -> list[tuple[str, str]]:
    """Pairs of tokens; older files write each as one string with a blank between them."""
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges or ()]
    for rank, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(t, str) for t in pair):
            raise ConfigError(
                f"`model.merges` must be pairs of tokens. Received: {pair!r} as the {rank + 1}th of them."
            )
    return [(left, right) for left, right in pairs]


def _added_tokens(tokens: Any) -> list[tuple[AddedToken, int]]:
    names = {field.name for field in dataclasses.fields(AddedToken)}
    found = []
    for token in tokens:
        if not isinstance(token, Mapping) or not isinstance(token.get("id"), int):
            raise ConfigError(f"Each of `added_tokens` must be an object with an `id`. Received: {token!r}.")
        if unknown := set(token) - names - {"id"}:
            raise UnsupportedTokenizerError(
                f"The key `{sorted(unknown)[0]}` of an added token is not known here. Received: {token!r}."
            )
        found.append((AddedToken(**{key: value for key, value in token.items() if key != "id"}), token["id"]))
    return found
