"""The vocabulary of a new model: the one given, the one that its run has learnt before, or a new one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from tf_mlm.config import TokenizerConfig, to_json
from tf_mlm.config.architectures import ARCHITECTURES, kind_of
from tf_mlm.durable import read_checked, write_checked
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.read_tokenizer import read_vocabulary
from tf_mlm.model.directory.tokenizer_files import TOKENIZER
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.vocabulary_training import learn_vocabulary
from tf_mlm.training.data.corpus import Corpus

VOCABULARY = "vocabulary.json"


def given_vocabulary(
    given: Vocabulary | str | os.PathLike[str], architecture: str, tokenizer: TokenizerConfig | None
) -> Vocabulary:
    """A vocabulary that was made before.

    Args:
        given: itself, a file with one token per line, or a directory of tokenizer files (or the
            `tokenizer.json` in it).
        architecture: of the new model.
        tokenizer: normalisation and special tokens of a file; a directory states its own.

    Raises:
        ConfigError: if it cannot be read, or is of a kind that does not belong to the architecture.
    """
    if isinstance(given, Vocabulary):
        return _of_kind(given, architecture, "a vocabulary")
    path = Path(given)
    if not path.is_dir() and path.name != TOKENIZER:
        wanted = _tokenizer(architecture, tokenizer)
        if wanted.model != "WordPiece":
            raise ConfigError(
                f"A {kind_of(wanted)} vocabulary is a directory with a {TOKENIZER}, as `tf-mlm vocab "
                f"--kind {kind_of(wanted)}` writes it. Received: `{path}`, for the architecture "
                f"{architecture}. Give such a directory, or leave it out, so that one is learnt."
            )
        return Vocabulary.read(path, wanted)
    if tokenizer is not None:
        raise ConfigError(
            "A directory of tokenizer files states normalisation and special tokens itself. Received: "
            f"`{path}` and settings of a tokenizer (or --cased). Leave these out."
        )
    directory = path if path.is_dir() else path.parent
    return _of_kind(read_vocabulary(directory, architecture), architecture, f"`{path}`")


def learnt_vocabulary(
    corpus: Corpus,
    directory: Path,
    size: int,
    architecture: str,
    tokenizer: TokenizerConfig | None,
    *,
    write: bool,
) -> Vocabulary:
    """What the run has learnt before from the same files with the same settings, else a new vocabulary.

    Args:
        corpus: its training documents are learnt from.
        directory: of the run; holds what it has learnt.
        size: the number of tokens wanted.
        architecture: of the new model.
        tokenizer: normalisation and special tokens, in place of those of the architecture.
        write: whether to keep a new one in the directory.

    Raises:
        ConfigError: if there is no text, or the tokenizer is of a kind that does not belong to the
            architecture.
    """
    settings = _tokenizer(architecture, tokenizer)
    text = corpus.of_text
    if not text.files:
        raise ConfigError(
            "Token ids say nothing without their vocabulary. Received: TFRecord files only. Give the "
            "vocabulary they were made with, or continue from a model directory with --from."
        )
    key: dict[str, Any] = {
        **text.key(),
        "tokenizer": to_json(dataclasses.replace(settings, extra={})),
        "vocabulary_size": size,
    }
    key = json.loads(json.dumps(key))  # as it is once it was written
    path = directory / VOCABULARY
    with contextlib.suppress(OSError, ValueError):
        known = read_checked(path)
        if known["key"] == key:
            merges = [(left, right) for left, right in known.get("merges", ())]
            scores = known.get("scores", ())
            return Vocabulary(known["tokens"], settings, merges=merges, scores=scores)
    # Held-out documents must not even decide which words get a token of their own.
    vocabulary = learn_vocabulary(text.training_texts(), size, settings)
    if write:
        learnt = {name: getattr(vocabulary, name) for name in ("tokens", "merges", "scores")}
        write_checked(path, {"key": key, **learnt})
    return vocabulary


def _tokenizer(architecture: str, tokenizer: TokenizerConfig | None) -> TokenizerConfig:
    """The settings given, or those of the architecture; other families than those read as BERT does."""
    if tokenizer is not None:
        _check_kind(tokenizer, architecture, "settings of a tokenizer")
        return tokenizer
    known = ARCHITECTURES.get(architecture)
    return TokenizerConfig() if known is None else known.tokenizer


def _of_kind(vocabulary: Vocabulary, architecture: str, what: str) -> Vocabulary:
    _check_kind(vocabulary.config, architecture, what)
    return vocabulary


def _check_kind(tokenizer: TokenizerConfig, architecture: str, what: str) -> None:
    known, kind = ARCHITECTURES.get(architecture), kind_of(tokenizer)
    if known is None or kind == known.kind:
        return
    others = [name for name, other in ARCHITECTURES.items() if other.kind == kind]
    choose = f", or choose another architecture ({', '.join(others)})" if others else ""
    raise ConfigError(
        f"The architecture {architecture} reads a vocabulary of the kind {known.kind}. Received: {what} of "
        f"the kind {kind}. Give one of its kind, or leave it out, so that one is learnt{choose}."
    )
