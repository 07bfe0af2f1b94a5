"""The model that a run starts from: a new one, whose weights save hundreds of steps, or a loaded one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.checkpoint import load
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.token_store import Rows
from tf_mlm.training.options import TrainConfig

ROWS_PER_COUNT = 1 << 16


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
