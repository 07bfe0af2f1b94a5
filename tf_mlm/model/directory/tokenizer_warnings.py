"""What stands in the tokenizer files without an effect, or contradicts another of them, said in warnings."""

from __future__ import annotations

import codecs
import re
import warnings
from typing import Any

from tf_mlm.errors import ConfigError, TokenizerWarning
from tf_mlm.model.directory.tokenizer_files import (
    ADDED_TOKENS,
    BPE_VOCABULARY,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCABULARY,
    TokenizerFiles,
)
from tf_mlm.model.directory.tokenizer_json import Serialised, read_tokenizer_json
from tf_mlm.model.directory.tokenizer_keys import IGNORED, READ, WITHOUT_EFFECT
from tf_mlm.text.vocabulary_file import read_lines

_NAMES = {
    "bert": "BERT",
    "mpnet": "MPNet",
    "roberta": "RoBERTa",
    "xlm-roberta": "XLM-R",
    "camembert": "CamemBERT",
    "albert": "ALBERT",
    "deberta-v2": "DeBERTa",
}


def warn_of_what_has_no_effect(files: TokenizerFiles, kind: str, serialised: Serialised) -> None:
    """One warning for each thing, with file, key and consequence."""
    config_file = f"`{files.path(TOKENIZER_CONFIG)}`"
    unknown = sorted(
        key
        for key in files.stated
        if key not in (*READ, *WITHOUT_EFFECT, *IGNORED) and not key.endswith("_token")
    )
    if unknown:
        warn(f"{config_file}: unknown keys have no effect, in transformers either: {', '.join(unknown)}.")
    for key, usual in IGNORED.items():
        if key in files.stated and files.stated[key] not in usual:
            warn(
                f"{config_file}: `{key}` has no effect, as in transformers 5. Received: "
                f"{files.stated[key]!r}."
            )
    if files.values.get("truncation_side", "right") != "right":
        warn(
            f"{config_file}: `truncation_side` is not followed: a text that has to be cut is cut at its end. "
            f"Received: {files.values['truncation_side']!r}."
        )
    for index, token in files.added.items():
        actual = serialised.added_ids.get(token.content, serialised.ids.get(token.content))
        if actual != index:
            warn(
                f"`{files.directory}`: the tokenizer files state the id {index} for the added token "
                f"{token.content!r}, but transformers numbers it {actual}, and so does this package."
            )
    beside = {entry["content"] for entry in (files.serialised or {}).get("added_tokens") or ()}
    beside |= set(files.json(ADDED_TOKENS) or ())
    if lost := sorted(beside - set(serialised.added_ids)):
        warn(
            f"{config_file}: as it has `added_tokens_decoder`, the added tokens of {ADDED_TOKENS} and "
            f"{TOKENIZER} have no effect, as in transformers 5: {', '.join(lost)}."
        )
    if files.path(VOCABULARY).is_file():
        _warn_of_vocabulary_file(files, serialised)
    if kind == "roberta" and files.serialised is not None and files.path(BPE_VOCABULARY).is_file():
        stated, known = files.json(BPE_VOCABULARY) or {}, {**serialised.ids, **serialised.added_ids}
        _warn_of_other_tokens(files, BPE_VOCABULARY, dict(stated.items() ^ known.items()))
    if kind in _NAMES and files.serialised is not None:
        _warn_of_differences(files, kind, serialised)


def _warn_of_vocabulary_file(files: TokenizerFiles, serialised: Serialised) -> None:
    path = files.path(VOCABULARY)
    if path.read_bytes().startswith(codecs.BOM_UTF8):
        warn(
            f"`{path}` begins with a byte-order mark. It is dropped here; transformers takes it for a part "
            "of the first token. Save the file as UTF-8 without it."
        )
    if files.serialised is not None:
        lines = {token: line for line, token in enumerate(read_lines(path))}
        _warn_of_other_tokens(files, VOCABULARY, dict(lines.items() ^ serialised.ids.items()))


def _warn_of_other_tokens(files: TokenizerFiles, name: str, differing: dict[str, int]) -> None:
    if differing:
        warn(
            f"`{files.path(name)}` and `{files.path(TOKENIZER)}` differ in {len(differing)} tokens, such as "
            f"{min(differing)!r}. {TOKENIZER} counts, as in transformers 5."
        )


def _warn_of_differences(files: TokenizerFiles, kind: str, serialised: Serialised) -> None:
    """The models' own classes take but tokens from `tokenizer.json`: say so where it says something else."""
    assert files.serialised is not None
    if "normalizer" not in files.serialised:
        return  # there is only a vocabulary
    usual = {"bert": "WordPiece", "mpnet": "WordPiece", "roberta": "BPE"}.get(kind, "Unigram")
    model = {"type": usual, **files.serialised["model"]}
    try:
        told = read_tokenizer_json({**files.serialised, "model": model}).settings
    except ConfigError as error:
        differing = [str(error)]
    else:
        effective = dict(serialised.settings)
        for settings in (told, effective):
            if settings.get("strip_accents", False) is None:
                settings["strip_accents"] = settings["do_lower_case"]
        differing = [
            f"{name}={_shown(told[name])} there, {_shown(value)} in effect"
            for name, value in effective.items()
            if name not in ("added_tokens", "pair") and told[name] != value
        ]
    if differing:
        warn(
            f"`{files.path(TOKENIZER)}` says something else than {TOKENIZER_CONFIG}, which counts for "
            f"{_NAMES[kind]}'s tokenizer classes, as in transformers 5: "
            f"{'; '.join(differing)}. If {TOKENIZER} is right, say "
            f"tokenizer_class=PreTrainedTokenizerFast in {TOKENIZER_CONFIG}."
        )


def _shown(value: Any) -> str:
    """A setting; of a long part of a `tokenizer.json` only the types."""
    text = repr(value)
    return text if len(text) < 100 else " ".join(re.findall(r'"type": "(\w+)"', text))


def warn(message: str) -> None:
    """A `TokenizerWarning` at the line that called `tf_mlm.load`."""
    warnings.warn(message, TokenizerWarning, stacklevel=5)
