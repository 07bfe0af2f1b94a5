"""What a run starts from: vocabulary, model, and the packed rows of its corpus."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from tf_mlm.config import ModelConfig, TokenizerConfig, to_json
from tf_mlm.durable import read_checked, write_checked
from tf_mlm.errors import ConfigError, UnknownTokensWarning
from tf_mlm.model.directory.checkpoint import load
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary, train_vocabulary
from tf_mlm.training.data.corpus import read_documents, split_key
from tf_mlm.training.data.files import holds_token_ids
from tf_mlm.training.data.split import Split
from tf_mlm.training.data.token_store import Rows, TokenStore, file_states, open_token_store
from tf_mlm.training.options import TrainConfig

VOCABULARY = "vocabulary.json"
ROWS_PER_COUNT = 1 << 16
MOST_UNKNOWN = 0.2


def starting_vocabulary(
    given: Vocabulary | str | os.PathLike[str] | None,
    files: Sequence[Path],
    run_directory: Path,
    config: TrainConfig,
    tokenizer: TokenizerConfig,
    *,
    write: bool = True,
) -> Vocabulary:
    """The vocabulary given; else the one this run has learnt before, from the same files with the same
    settings; else a new one, learnt from the training documents.

    Raises:
        ConfigError: if there are only token ids to learn from, or no document to train on.
    """
    if isinstance(given, Vocabulary):
        return given
    if given is not None:
        return Vocabulary.read(Path(given), tokenizer)
    text_files = [file for file in files if not holds_token_ids(file)]
    if not text_files:
        raise ConfigError(
            "Token ids say nothing without their vocabulary. Received: TFRecord files only. Give the "
            "vocabulary they were made with, or continue from a model directory with --from."
        )
    path = run_directory / VOCABULARY
    settings = ("vocabulary_size", "held_out", "text_field", "line_by_line")
    key = {
        "files": file_states(text_files),
        "tokenizer": to_json(dataclasses.replace(tokenizer, extra={})),
        **{name: getattr(config, name) for name in settings},
    }
    with contextlib.suppress(OSError, ValueError):
        known = read_checked(path)
        if known["key"] == key:
            return Vocabulary(known["tokens"], tokenizer)
    vocabulary = _learnt_vocabulary(text_files, config, tokenizer)
    if write:
        run_directory.mkdir(parents=True, exist_ok=True)
        write_checked(path, {"key": key, "tokens": vocabulary.tokens})
    return vocabulary


def _learnt_vocabulary(files: Sequence[Path], config: TrainConfig, tokenizer: TokenizerConfig) -> Vocabulary:
    split = Split(config.held_out)
    documents = read_documents(files, text_field=config.text_field, line_by_line=config.line_by_line)

    def to_learn() -> Iterator[str]:
        # Held-out documents must not even decide which words get a token of their own.
        for document in documents:
            if not split.is_held_out(split_key(document)):
                yield document
        if not split.train:
            split.check(files)

    return train_vocabulary(to_learn(), config.vocabulary_size, tokenizer)


def new_model(config: TrainConfig, vocabulary: Vocabulary, sizes: ModelConfig | None) -> MaskedLM:
    """A model with random weights, of the sizes given or of those that `config` names."""
    if sizes is None:
        dropout = 0.1 if config.dropout is None else config.dropout
        sizes = ModelConfig(
            vocab_size=vocabulary.size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.hidden_size,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            # Positions that training never sees would answer with noise.
            max_position_embeddings=config.length,
            pad_token_id=vocabulary.pad_id,
        )
    elif sizes.vocab_size != vocabulary.size:
        raise ConfigError(
            "The model must have one embedding per token of the vocabulary. "
            f"Received: vocab_size={sizes.vocab_size} and a vocabulary of {vocabulary.size} tokens."
        )
    preprocessor = TextPreprocessor(vocabulary, max_length=sizes.max_length)
    model = MaskedLM.from_config(sizes, dtype=config.dtype, seed=config.seed, preprocessor=preprocessor)
    start_from_waves(model)
    return model


def start_from_waves(model: MaskedLM) -> None:
    """Sets the position table of a new model to sines and cosines, as large as random values would be.

    With them, two positions are alike when they are near, so attention to neighbours is learnt in a
    few hundred steps; random vectors must find the order of the positions first
    (Vaswani et al., section 3.5, https://arxiv.org/abs/1706.03762). Training changes them like all weights.
    """
    table = model.encoder.embedding.position.embeddings  # type: ignore[union-attr]
    positions, width = table.shape
    frequencies = 10_000.0 ** -(np.arange(width) // 2 * 2 / width)
    angles = np.arange(positions)[:, np.newaxis] * frequencies
    waves = np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles))
    table.assign(waves * 2**0.5 * model.config.initializer_range)  # a wave's deviation is 1 / sqrt(2)


def start_from_frequencies(model: MaskedLM, rows: Rows) -> None:
    """Sets the output bias of a new model to the log-frequencies of the training tokens.

    Learning which tokens are frequent is what the first hundreds of steps go to otherwise.
    """
    assert model.preprocessor is not None
    vocabulary = model.preprocessor.vocabulary
    counts = np.zeros(vocabulary.size)
    for first in range(0, len(rows.lengths), ROWS_PER_COUNT):
        ids = rows.token_ids[first : first + ROWS_PER_COUNT]
        counts += np.bincount(ids.ravel(), minlength=vocabulary.size)
    counts[list(vocabulary.special_ids)] = 0
    counts += 1  # a token that never occurs is unlikely, not impossible
    model.head.output_bias.assign(np.log(counts / counts.sum()))


def loaded_model(directory: str | os.PathLike[str], config: TrainConfig) -> MaskedLM:
    """The model of a directory, with a new head (drawn from the seed) if it has none.

    Raises:
        ConfigError: if its tokenizer cannot be used here, or `config` asks for what it cannot have.
    """
    if config.dropout not in (None, 0):
        raise ConfigError(
            "A loaded model keeps its own dropout rates; training can only use them or switch them off. "
            f"Received: dropout={config.dropout}. Leave it out or give 0, or change the rates in config.json."
        )
    model = load(directory, config.dtype, seed=config.seed)
    if model.preprocessor is None:
        raise ConfigError(
            f"Training on text needs the model's tokenizer. Received: `{Path(directory)}`, which has none "
            "that this package can run. Add the WordPiece vocab.txt it was trained with, or continue from a "
            "WordPiece model."
        )
    return model


def open_rows(
    files: Sequence[Path],
    directory: Path,
    model: MaskedLM,
    config: TrainConfig,
    console: Console | None,
    *,
    held_out: float | None = None,
) -> TokenStore:
    """The packed rows of the corpus, with a progress bar while they are made.

    `held_out` stands in for the share that `config` names.

    Warns:
        UnknownTokensWarning: if the vocabulary has no name for much of the text.

    Raises:
        ConfigError: if rows would be longer than the model's positions, or the vocabulary has no name
            for any of the text.
    """
    if config.length > model.config.max_length:
        raise ConfigError(
            f"`length` must not exceed the model's {model.config.max_length} positions. "
            f"Received: length={config.length}. Lower it, or start from a model with more positions."
        )
    assert model.preprocessor is not None
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
            files,
            model.preprocessor,
            length=config.length,
            held_out=config.held_out if held_out is None else held_out,
            text_field=config.text_field,
            line_by_line=config.line_by_line,
            progress=lambda count: progress.advance(task, count),
        )
    _check_known(store.unknown, model.preprocessor.vocabulary)
    return store


def _check_known(unknown: float, vocabulary: Vocabulary) -> None:
    rule = "The vocabulary must fit the text. Received: "
    advice = "Start from a model for this language and script, or learn a vocabulary from this text."
    token = vocabulary.config.unk_token
    if unknown == 1:
        raise ConfigError(f"{rule}text of which it knows no word: every token is {token}. {advice}")
    if unknown > MOST_UNKNOWN:
        message = f"{rule}text of which {unknown:.0%} of the tokens are {token}. {advice}"
        warnings.warn(message, UnknownTokensWarning, stacklevel=3)
