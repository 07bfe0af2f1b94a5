"""The rows of a corpus for a model: what does not fit is said before anything is trained or measured."""

from __future__ import annotations

import warnings
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tf_mlm.errors import ConfigError, ConfigWarning, UnknownTokensWarning
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.packed_rows import RowsFile
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.shards import open_shards, packed_files
from tf_mlm.training.data.token_store import TokenStore, open_token_store

MOST_UNKNOWN = 0.2


def open_rows(
    corpus: Corpus,
    directory: Path,
    model: MaskedLM,
    *,
    length: int,
    packed: bool = False,
    console: Console | None,
    share: tuple[int, int] = (0, 1),
) -> TokenStore:
    """The packed rows of a corpus, for a model with a preprocessor; a progress bar while they are made.

    Shards of packed rows are read where they lie.

    Args:
        corpus: text, or token ids of the model's vocabulary.
        directory: holds the rows, or is to.
        model: has the vocabulary, and as many positions as a row has tokens, or more.
        length: tokens of a row.
        packed: whether the documents of a row are kept apart.
        console: for the progress bar; None shows none.
        share: which of how many workers reads, if each has shards of its own.

    Warns:
        UnknownTokensWarning: if the vocabulary has no name for much of the text.

    Raises:
        ConfigError: if rows would be longer than the model's positions, or the vocabulary has no name
            for any of the text.
    """
    if length > model.config.max_length:
        raise ConfigError(
            f"`length` must not exceed the model's {model.config.max_length} positions. "
            f"Received: length={length}. Lower it, or start from a model with more positions."
        )
    assert model.preprocessor is not None
    if shards := packed_files(corpus):
        _check_apart(shards[0], packed)
        worker, workers = share
        vocabulary = model.preprocessor.vocabulary
        store = open_shards(shards, corpus, vocabulary, length=length, worker=worker, workers=workers)
        _check_known(store.unknown, vocabulary)
        return store
    with Progress(
        "{task.description}",
        "{task.completed} documents",
        console=console,
        disable=console is None,
        transient=True,
    ) as progress:
        task = progress.add_task("tokenizing", total=None)
        store = open_token_store(
            directory,
            corpus,
            model.preprocessor,
            length=length,
            packed=packed,
            progress=lambda count: progress.advance(task, count),
        )
    _check_known(store.unknown, model.preprocessor.vocabulary)
    return store


def _check_apart(shard: RowsFile, packed: bool) -> None:
    """What shards hold must be what the model is to read."""
    if shard.apart and not packed:
        raise ConfigError(
            "Rows that keep their documents apart are read so, or not at all. Received: "
            f"`{shard.path}`, which was tokenized so (--packed), and a run without `packed`. Give --packed, "
            "or tokenize the text again with --no-packed."
        )
    if packed and not shard.apart:
        warnings.warn(
            f"`{shard.path}` and the other shards hold documents end to end, which are read as one text, so "
            "this run does not keep them apart (`packed`). To keep them apart, tokenize the text again with "
            "--packed.",
            ConfigWarning,
            stacklevel=4,
        )


def _check_known(unknown: float, vocabulary: Vocabulary) -> None:
    rule = "The vocabulary must fit the text. Received: "
    advice = "Start from a model for this language and script, or learn a vocabulary from this text."
    token = vocabulary.config.unk_token
    if unknown == 1:
        raise ConfigError(f"{rule}text of which it knows no word: every token is {token}. {advice}")
    if unknown > MOST_UNKNOWN:
        message = f"{rule}text of which {unknown:.0%} of the tokens are {token}. {advice}"
        warnings.warn(message, UnknownTokensWarning, stacklevel=3)
