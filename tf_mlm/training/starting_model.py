"""The model that a run starts from: a new one, whose weights save hundreds of steps, or a loaded one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tf_mlm.config import ModelConfig, from_json
from tf_mlm.config.architectures import ARCHITECTURES, Sizes
from tf_mlm.errors import ConfigError
from tf_mlm.model.bert_encoder import BertEncoder
from tf_mlm.model.directory.checkpoint import load, read_config
from tf_mlm.model.directory.families import FAMILIES
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.token_store import StoredRows
from tf_mlm.training.options import DEFAULT_ARCHITECTURE, TrainConfig


def new_model(config: TrainConfig, vocabulary: Vocabulary, sizes: ModelConfig | None) -> MaskedLM:
    """A model with random weights, of the sizes given or of those that `config` names."""
    if sizes is None:
        sizes = sizes_of(config, vocabulary)
    elif sizes.vocab_size != vocabulary.size:
        raise ConfigError(
            "The model must have one embedding per token of the vocabulary. "
            f"Received: vocab_size={sizes.vocab_size} and a vocabulary of {vocabulary.size} tokens."
        )
    preprocessor = TextPreprocessor(vocabulary, max_length=sizes.max_length)
    model = MaskedLM.from_config(sizes, dtype=config.dtype, seed=config.seed, preprocessor=preprocessor)
    start_from_waves(model)
    return model


def sizes_of(config: TrainConfig, vocabulary: Vocabulary) -> ModelConfig:
    """The sizes that `config` names, in a model of its architecture with the family's own constants.

    Raises:
        ConfigError: for sizes that such a model cannot have.
    """
    name = config.architecture or DEFAULT_ARCHITECTURE
    family, ids = FAMILIES[name], (vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id)
    rates = () if config.dropout is None else ("hidden_dropout_prob", "attention_probs_dropout_prob")
    values = {
        **family.defaults,
        "model_type": name,
        "vocab_size": vocabulary.size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": 4 * config.hidden_size,
        # Positions that training never sees would answer with noise.
        "max_position_embeddings": config.length,
        "pad_token_id": vocabulary.pad_id,
        **ARCHITECTURES[name].settings(Sizes(config.length, config.layers, config.hidden_size, *ids)),
        **dict.fromkeys(rates, config.dropout),
    }
    if config.rope_theta is not None:
        if values.get("rope_theta") is None:
            raise ConfigError(
                "`rope_theta` is the base of rotary angles. Received: "
                f"rope_theta={config.rope_theta} for a new {name}, whose positions are learned. Leave it "
                "out, or choose --architecture modernbert."
            )
        values["rope_theta"] = config.rope_theta
    return from_json(ModelConfig, {**values, **family.fixed})


def is_packed(config: TrainConfig, model: MaskedLM) -> bool:
    """Whether documents that share a row are kept apart: as `config` says, else where positions are rotary.

    Raises:
        ConfigError: if it says so of an encoder that cannot.
    """
    can = isinstance(model.encoder, BertEncoder) and model.config.reads_apart
    if config.packed and not can:
        family = getattr(model.config, "model_type", "another family")
        raise ConfigError(
            "Packed rows need an encoder that takes `position_ids` and can read each document of a row by "
            f"itself, as `BertEncoder` does in most families. Received: {type(model.encoder).__name__} of "
            f"{family}. Leave out `packed`."
        )
    return bool(can and model.config.rope_theta is not None) if config.packed is None else config.packed


def start_from_waves(model: MaskedLM) -> None:
    """Sets the position table of a new model to sines and cosines, as large as random values would be.

    With them, two positions are alike when they are near, so attention to neighbours is learnt in a
    few hundred steps; random vectors must find the order of the positions first
    (Vaswani et al., section 3.5, https://arxiv.org/abs/1706.03762). Training changes them like all weights.
    A model without such a table stays as it is.
    """
    position = model.encoder.embedding.position  # type: ignore[union-attr]
    if position is None:  # ModernBERT's are rotations, which are not learnt
        return
    table = position.embeddings
    positions, width = table.shape
    frequencies = 10_000.0 ** -(np.arange(width) // 2 * 2 / width)
    angles = np.arange(positions)[:, np.newaxis] * frequencies
    waves = np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles))
    table.assign(waves * 2**0.5 * model.config.initializer_range)  # a wave's deviation is 1 / sqrt(2)


def start_from_frequencies(model: MaskedLM, rows: StoredRows) -> None:
    """Sets the output bias of a new model to the log-frequencies of the training tokens.

    Learning which tokens are frequent is what the first hundreds of steps go to otherwise. A bare head has no
    such bias, and stays as it is.
    """
    if model.head.output_bias is None:
        return
    assert model.preprocessor is not None
    vocabulary = model.preprocessor.vocabulary
    counts = rows.token_counts(vocabulary.size).astype(np.float64)
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
    if config.architecture not in (None, family := read_config(Path(directory)).model_type):
        raise ConfigError(
            "A model that is continued keeps its architecture. Received: "
            f"architecture={config.architecture!r} and `{directory}`, which is {family}. Leave "
            "`architecture` out, or start a new model without --from."
        )
    model = load(directory, config.dtype, seed=config.seed)
    if model.preprocessor is None:
        raise ConfigError(
            f"Training on text needs the model's tokenizer. Received: `{Path(directory)}`, which has none "
            "that this package can run. Add the WordPiece vocab.txt it was trained with, or continue from a "
            "WordPiece model."
        )
    return model
