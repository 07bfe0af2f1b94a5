"""A `tokenizer.json`, key by key: which setting each one is, which values can be carried, and no others.

The tables below name every key that the `tokenizers` library writes for the parts that are known here. A
part, a key or a value that stands in none of them is refused by its name: it might change token ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tf_mlm.config import AddedToken, TokenizerConfig
from tf_mlm.errors import ConfigError, UnsupportedTokenizerError

_Values = Mapping[str, Any]


class Serialised(NamedTuple):
    """What a `tokenizer.json` says.

    Attributes:
        settings: fields of `TokenizerConfig`.
        ids: the id of each token that words are cut into.
        added_ids: the id of each added token.
    """

    settings: dict[str, Any]
    ids: dict[str, int]
    added_ids: dict[str, int]


@dataclasses.dataclass(frozen=True)
class _Field:
    """A key that is the field `name` of `TokenizerConfig`."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Only:
    """A key that must have this value."""

    value: Any


_Keys = Mapping[str, _Field | _Only]

_NORMALIZERS: Mapping[str | None, _Keys] = {
    "BertNormalizer": {
        "clean_text": _Field("clean_text"),
        "handle_chinese_chars": _Field("tokenize_chinese_chars"),
        "strip_accents": _Field("strip_accents"),
        "lowercase": _Field("do_lower_case"),
    },
    None: {},
}
_PRE_TOKENIZERS: Mapping[str | None, _Keys] = {"BertPreTokenizer": {}}
_MODELS: Mapping[str | None, _Keys] = {
    "WordPiece": {
        "unk_token": _Field("unk_token"),
        "continuing_subword_prefix": _Field("continuing_subword_prefix"),
        "max_input_chars_per_word": _Field("max_input_chars_per_word"),
    }
}
_DECODERS: Mapping[str | None, _Keys] = {
    "WordPiece": {"prefix": _Field("continuing_subword_prefix"), "cleanup": _Field("decoder_cleanup")},
    None: {},
}
# What the absence of a part means.
_WITHOUT: Mapping[str, dict[str, Any]] = {
    "normalizer": {
        "clean_text": False,
        "tokenize_chinese_chars": False,
        "strip_accents": False,
        "do_lower_case": False,
    },
    "decoder": {"decoder_cleanup": None},
}
# transformers sets both anew for each call, whatever the file says.
_IGNORED = ("version", "truncation", "padding")


def read_tokenizer_json(values: _Values) -> Serialised:
    """What a parsed `tokenizer.json` says, all of it.

    Raises:
        UnsupportedTokenizerError: for a part, key or value that has no counterpart here.
        ConfigError: for a value of the wrong type.
    """
    settings: dict[str, Any] = {}
    ids: dict[str, int] = {}
    added_tokens: list[tuple[AddedToken, int]] = []

    def read_model(model: Any) -> None:
        vocab = model.get("vocab") if isinstance(model, Mapping) else None
        _read_part("model", model, _MODELS, settings, besides=("vocab",))
        ids.update(_ids(vocab))

    def read_decoder(decoder: Any) -> None:
        prefix = settings.get("continuing_subword_prefix")
        found: dict[str, Any] = {}
        _read_part("decoder", decoder, _DECODERS, found)
        if found.get("continuing_subword_prefix", prefix) != prefix:
            raise UnsupportedTokenizerError(
                f"`decoder.prefix` must be the model's `continuing_subword_prefix`, {prefix!r}. "
                f"Received: {found['continuing_subword_prefix']!r}."
            )
        settings.update(found)

    def read_template(template: Any) -> None:
        found, wanted = _template(template)
        settings.update(found)
        for token, index in wanted.items():
            known = ids.get(token, {added.content: other for added, other in added_tokens}.get(token))
            if known != index:
                raise UnsupportedTokenizerError(
                    f"`post_processor` must put in the id of its token. Received: {index} for {token!r}, "
                    f"which {f'is {known}' if known is not None else 'is no token'} in the vocabulary."
                )

    readers: dict[str, Callable[[Any], None]] = {
        "added_tokens": lambda tokens: added_tokens.extend(_added_tokens(tokens or [])),
        "normalizer": lambda part: _read_part("normalizer", part, _NORMALIZERS, settings),
        "pre_tokenizer": lambda part: _read_part("pre_tokenizer", part, _PRE_TOKENIZERS, settings),
        "model": read_model,
        "decoder": read_decoder,
        "post_processor": read_template,
    }
    unknown = sorted(set(values) - set(readers) - set(_IGNORED))
    if unknown:
        raise UnsupportedTokenizerError(f"The key `{unknown[0]}` is not known here.")
    for name, read in readers.items():
        read(values.get(name))
    settings["added_tokens"] = tuple(token for token, _ in added_tokens)
    return Serialised(settings, ids, {token.content: index for token, index in added_tokens})


def write_tokenizer_json(
    config: TokenizerConfig, ids: Mapping[str, int], all_ids: Mapping[str, int]
) -> dict[str, Any]:
    """The `tokenizer.json` that `read_tokenizer_json` reads back.

    Args:
        config: its settings.
        ids: the id of each token that words are cut into.
        all_ids: the id of every token, added ones included.
    """
    cls, sep = config.cls_token, config.sep_token
    values = dataclasses.asdict(dataclasses.replace(config, added_tokens=(), extra={}))

    def part(kind: str, keys: _Keys) -> dict[str, Any]:
        return {
            "type": kind,
            **{key: values[rule.name] for key, rule in keys.items() if isinstance(rule, _Field)},
        }

    def special(token: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def sequence(name: str, type_id: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special(cls, 0), sequence("A", 0), special(sep, 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": all_ids[token.content], **dataclasses.asdict(token)}
            for token in sorted(config.found_tokens, key=lambda token: all_ids[token.content])
        ],
        "normalizer": part("BertNormalizer", _NORMALIZERS["BertNormalizer"]),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": config.post_processor
        or {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, sequence("B", 1), special(sep, 1)],
            "special_tokens": {
                token: {"id": token, "ids": [all_ids[token]], "tokens": [token]} for token in (cls, sep)
            },
        },
        "decoder": None if config.decoder_cleanup is None else part("WordPiece", _DECODERS["WordPiece"]),
        "model": {**part("WordPiece", _MODELS["WordPiece"]), "vocab": dict(ids)},
    }


def _read_part(
    name: str,
    part: Any,
    kinds: Mapping[str | None, _Keys],
    settings: dict[str, Any],
    besides: Sequence[str] = (),
) -> None:
    """Puts the settings of one part where they belong, or refuses it."""
    part = _unwrapped(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if part is not None and not isinstance(part, Mapping):
        raise ConfigError(f"`{name}` must be an object or null. Received: {part!r}.")
    if kind not in kinds:
        known = ", ".join(str(known) for known in kinds if known)
        raise UnsupportedTokenizerError(
            f"`{name}` must be of a kind that is known here: {known}{' or null' if None in kinds else ''}. "
            f"Received: {name}.type={kind!r}."
        )
    if part is None:
        settings.update(_WITHOUT[name])
        return
    keys = kinds[kind]
    for key, value in part.items():
        rule = keys.get(key)
        if isinstance(rule, _Field):
            settings[rule.name] = value
        elif isinstance(rule, _Only) and value != rule.value:
            raise UnsupportedTokenizerError(f"`{name}.{key}` must be {rule.value!r}. Received: {value!r}.")
        elif rule is None and key not in ("type", *besides):
            raise UnsupportedTokenizerError(f"The key `{name}.{key}` is not known here. Received: {value!r}.")


def _unwrapped(part: Any) -> Any:
    """A sequence of one part is that part."""
    for key in ("normalizers", "pretokenizers", "processors", "decoders"):
        if isinstance(part, Mapping) and part.get("type") == "Sequence":
            inner = part.get(key)
            if isinstance(inner, list) and len(inner) == 1:
                return _unwrapped(inner[0])
    return part


def _ids(vocab: Any) -> dict[str, int]:
    if not isinstance(vocab, Mapping) or not all(
        isinstance(index, int) and not isinstance(index, bool) for index in vocab.values()
    ):
        raise ConfigError("`model.vocab` must be an object from token to id.")
    return dict(vocab)


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


def _template(part: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """Class and separator token, the template itself if its pairs are not BERT's, and the ids it puts in."""
    part = _unwrapped(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("BertProcessing", "RobertaProcessing"):
        (cls, cls_id), (sep, sep_id) = part["cls"], part["sep"]
        own = None if kind == "BertProcessing" else dict(part)
        return {"cls_token": cls, "sep_token": sep, "post_processor": own}, {cls: cls_id, sep: sep_id}
    if kind != "TemplateProcessing":
        raise UnsupportedTokenizerError(
            "`post_processor` must put a class token before each text and a separator behind it. "
            f"Received: {kind or 'none, so that texts get neither'}."
        )
    single, pair = _pieces(part["single"]), _pieces(part["pair"])
    kinds = [(piece, type_id) for piece, _, type_id in single]
    if kinds != [("SpecialToken", 0), ("Sequence", 0), ("SpecialToken", 0)]:
        shown = " ".join(f"{name}:{type_id}" for _, name, type_id in single)
        raise UnsupportedTokenizerError(
            "`post_processor.single` must be a class token, the text and a separator, of type 0. "
            f"Received: {shown}."
        )
    ids: dict[str, int] = {}
    for _, name, _ in (single[0], single[2]):
        special = part["special_tokens"][name]
        if special["tokens"] != [name] or len(special["ids"]) != 1:
            raise UnsupportedTokenizerError(
                f"`post_processor.special_tokens` must give {name!r} one id. Received: {special!r}."
            )
        ids[name] = special["ids"][0]
    (_, cls, _), _, (_, sep, _) = single
    bert_pair = [*single, ("Sequence", "B", 1), ("SpecialToken", sep, 1)]
    own = None if pair == bert_pair else dict(part)
    return {"cls_token": cls, "sep_token": sep, "post_processor": own}, ids


def _pieces(template: Any) -> list[tuple[str, str, int]]:
    """Kind, name and type of each piece of a template."""
    return [(kind, piece["id"], piece["type_id"]) for entry in template for kind, piece in entry.items()]
