"""The `post_processor` of a `tokenizer.json`: what stands around a text and between two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tf_mlm.config import TokenizerConfig
from tf_mlm.config.tokenizer import PAIR, TEXT
from tf_mlm.errors import UnsupportedTokenizerError

Pair = tuple[tuple[str, int], ...]


class PostProcessor(NamedTuple):
    """What a `post_processor` says.

    Attributes:
        cls_token, sep_token: what stands before a text and behind it.
        pair: how two texts are put together, or None where it is BERT's way.
        ids: the id that it puts in for each token.
        trims: whether offsets leave out the blanks of a token.
        add_prefix_space: whether the first blank of a text counts as put in, where they do.
    """

    cls_token: str
    sep_token: str
    pair: Pair | None
    ids: dict[str, int]
    trims: bool = False
    add_prefix_space: bool = False


def read_post_processor(part: Any) -> PostProcessor:
    """What a parsed `post_processor` says.

    Raises:
        UnsupportedTokenizerError: for one that has no counterpart here.
    """
    part = unwrapped(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "Sequence" and [step.get("type") for step in part.get("processors", ())][:1] == ["ByteLevel"]:
        byte_level, *rest = part["processors"]
        if len(rest) == 1:
            return _trimming(read_post_processor(rest[0]), byte_level)
    if kind == "BertProcessing":
        (cls, cls_id), (sep, sep_id) = part["cls"], part["sep"]
        return PostProcessor(cls, sep, None, {cls: cls_id, sep: sep_id})
    if kind == "RobertaProcessing":
        (cls, cls_id), (sep, sep_id) = part["cls"], part["sep"]
        pair = tuple((name, 0) for name in (cls, TEXT, sep, sep, PAIR, sep))
        return _trimming(PostProcessor(cls, sep, pair, {cls: cls_id, sep: sep_id}), part)
    if kind == "TemplateProcessing":
        return _template(part)
    raise UnsupportedTokenizerError(
        "`post_processor` must put a class token before each text and a separator behind it. "
        f"Received: {kind or 'none, so that texts get neither'}."
    )


def write_post_processor(config: TokenizerConfig, ids: Mapping[str, int]) -> dict[str, Any]:
    """The `post_processor` that `read_post_processor` reads back.

    Args:
        config: its settings.
        ids: the id of every token.
    """
    cls, sep = config.cls_token, config.sep_token

    def piece(part: str, segment: int) -> dict[str, Any]:
        if part in (TEXT, PAIR):
            return {"Sequence": {"id": part[1:], "type_id": segment}}
        return {"SpecialToken": {"id": part, "type_id": segment}}

    specials = {part: None for part, _ in config.pair_template if part not in (TEXT, PAIR)}
    template = {
        "type": "TemplateProcessing",
        "single": [piece(cls, 0), piece(TEXT, 0), piece(sep, 0)],
        "pair": [piece(part, segment) for part, segment in config.pair_template],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]}
            for token in dict.fromkeys([cls, sep, *specials])
        },
    }
    if config.model == "BPE" and config.trim_offsets:
        trimming = {
            "type": "ByteLevel",
            "add_prefix_space": config.add_prefix_space,
            "trim_offsets": True,
            "use_regex": True,
        }
        return {"type": "Sequence", "processors": [trimming, template]}
    return template


def unwrapped(part: Any) -> Any:
    """A sequence of one part is that part."""
    for key in ("normalizers", "pretokenizers", "processors", "decoders"):
        if isinstance(part, Mapping) and part.get("type") == "Sequence":
            inner = part.get(key)
            if isinstance(inner, list) and len(inner) == 1:
                return unwrapped(inner[0])
    return part


def _trimming(wrapped: PostProcessor, part: Mapping[str, Any]) -> PostProcessor:
    return wrapped._replace(
        trims=bool(part.get("trim_offsets", True)), add_prefix_space=bool(part.get("add_prefix_space", True))
    )


def _template(part: Mapping[str, Any]) -> PostProcessor:
    single, pair = _pieces(part["single"]), _pieces(part["pair"])
    is_known = [segment for _, segment in single] == [0, 0, 0] and [name == TEXT for name, _ in single] == [
        False,
        True,
        False,
    ]
    if not is_known:
        shown = " ".join(f"{name.removeprefix('$')}:{segment}" for name, segment in single)
        raise UnsupportedTokenizerError(
            "`post_processor.single` must be a class token, the text and a separator, of type 0. "
            f"Received: {shown}."
        )
    if [name for name, _ in pair if name in (TEXT, PAIR)] != [TEXT, PAIR]:
        shown = " ".join(f"{name.removeprefix('$')}:{segment}" for name, segment in pair)
        raise UnsupportedTokenizerError(
            f"`post_processor.pair` must hold the first text and then the second. Received: {shown}."
        )
    ids: dict[str, int] = {}
    for name in dict.fromkeys(name for name, _ in (*single, *pair) if name not in (TEXT, PAIR)):
        special = part["special_tokens"][name]
        if special["tokens"] != [name] or len(special["ids"]) != 1:
            raise UnsupportedTokenizerError(
                f"`post_processor.special_tokens` must give {name!r} one id. Received: {special!r}."
            )
        ids[name] = special["ids"][0]
    (cls, _), _, (sep, _) = single
    bert_pair = ((cls, 0), (TEXT, 0), (sep, 0), (PAIR, 1), (sep, 1))
    return PostProcessor(cls, sep, None if pair == bert_pair else pair, ids)


def _pieces(template: Any) -> Pair:
    """The special tokens and texts of a template with their segments."""
    return tuple(
        (f"${piece['id']}" if kind == "Sequence" else piece["id"], piece["type_id"])
        for entry in template
        for kind, piece in entry.items()
    )
