"""A `tokenizer.json` of a SentencePiece model: Unigram, or BPE over characters with byte fallback.

Its normaliser, pre-tokenizer and decoder are carried as they are; what the graph cannot follow of them is
refused where the tokenizer is made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_mlm.config import TokenizerConfig
from tf_mlm.decoder import is_known
from tf_mlm.errors import ConfigError, UnsupportedTokenizerError

_CARRIED = ("normalizer", "pre_tokenizer", "decoder")
# What the model may say beside its vocabulary; None stands for any value.
_UNIGRAM: Mapping[str, tuple[Any, ...] | None] = {"type": None, "unk_id": None, "byte_fallback": (False,)}
_BPE: Mapping[str, tuple[Any, ...] | None] = {
    "type": None,
    "dropout": (None, 0, 0.0),
    "unk_token": None,
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "fuse_unk": None,
    "byte_fallback": (True,),
    "ignore_merges": (False,),
}


class Content(NamedTuple):
    """Fields of `TokenizerConfig`, the id of each token, and for Unigram the scores by id."""

    settings: dict[str, Any]
    ids: dict[str, int]
    scores: list[float]


def is_sentencepiece(values: Mapping[str, Any]) -> bool:
    """Whether a `tokenizer.json` is of SentencePiece's kinds; at the level of bytes nothing falls back."""
    model, words = values["model"], values.get("pre_tokenizer") or {}
    steps = [words, *(words.get("pretokenizers") or ())]
    is_byte_level = any(step.get("type") == "ByteLevel" for step in steps)
    return model.get("type") == "Unigram" or (
        model.get("type") == "BPE" and bool(model.get("byte_fallback")) and not is_byte_level
    )


def read_sentencepiece(values: Mapping[str, Any]) -> Content:
    """What a parsed `tokenizer.json` says, but for added and special tokens.

    Raises:
        UnsupportedTokenizerError: for a key or value that cannot be carried.
        ConfigError: for a vocabulary of another form.
    """
    model = values["model"]
    is_unigram = model["type"] == "Unigram"
    known = _UNIGRAM if is_unigram else _BPE
    for key, value in model.items():
        if key in ("vocab", "merges"):
            continue
        allowed = known.get(key, ())
        if allowed is not None and value not in allowed:
            raise UnsupportedTokenizerError(
                f"`model.{key}` must be {allowed[0] if allowed else 'absent'!r}. Received: {value!r}."
            )
    settings: dict[str, Any] = {
        name: json.dumps(values[name]) if values.get(name) is not None else "" for name in _CARRIED
    }
    if values.get("decoder") is not None and not is_known(values["decoder"]):
        raise UnsupportedTokenizerError(
            "`decoder` must be Metaspace, or a sequence of Replace, ByteFallback and Fuse. Received: "
            f"{values['decoder']!r}."
        )
    settings["do_lower_case"] = False  # the normaliser says
    if is_unigram:
        ids, scores = _scored(model.get("vocab"))
        unknown = model.get("unk_id")
        named = [token for token, index in ids.items() if index == unknown]
        if not named:
            raise UnsupportedTokenizerError(
                f"`model.unk_id` must be the id of a token. Received: {unknown!r}."
            )
        return Content({**settings, "model": "Unigram", "unk_token": named[0]}, ids, scores)
    vocab = model.get("vocab")
    if not isinstance(vocab, Mapping):
        raise ConfigError("`model.vocab` must be an object from token to id.")
    unknown = model.get("unk_token")
    if unknown not in vocab:
        raise UnsupportedTokenizerError(
            f"`model.unk_token` must be a token of the vocabulary. Received: {unknown!r}."
        )
    return Content({**settings, "model": "SentencePieceBPE", "unk_token": unknown}, dict(vocab), [])


def write_sentencepiece(
    config: TokenizerConfig, ids: Mapping[str, int], scores: Sequence[float]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts that `read_sentencepiece` reads back, and the model but for its merges."""
    parts = {name: json.loads(getattr(config, name) or "null") for name in _CARRIED}
    if config.model == "SentencePieceBPE":
        model = {key: allowed[0] if allowed else None for key, allowed in _BPE.items()}
        named = {"type": "BPE", "unk_token": config.unk_token, "fuse_unk": True}
        return parts, {**model, **named, "vocab": dict(ids)}
    tokens = {index: token for token, index in ids.items()}
    vocab = [[tokens.get(index, f"[unused{index}]"), score] for index, score in enumerate(scores)]
    model = {"type": "Unigram", "unk_id": ids[config.unk_token], "vocab": vocab, "byte_fallback": False}
    return parts, model


def _scored(vocab: Any) -> tuple[dict[str, int], list[float]]:
    """Ids and scores of a list of tokens; of equal tokens the last one counts, as in the library.

    The scores are float32, as SentencePiece has them; behind that the library reads not quite what it wrote.
    """
    is_sound = isinstance(vocab, list) and all(
        isinstance(entry, list | tuple)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and isinstance(entry[1], int | float)
        and math.isfinite(entry[1])
        for entry in vocab
    )
    if not is_sound:
        raise ConfigError("`model.vocab` of a Unigram model must be a list of tokens with their scores.")
    scores = np.array([score for _, score in vocab], np.float32)
    return {token: index for index, (token, _) in enumerate(vocab)}, scores.tolist()
