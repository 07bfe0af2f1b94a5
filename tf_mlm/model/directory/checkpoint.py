"""The model directory: Hugging Face's own layout, read and written without a conversion step."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.config import ModelConfig, read_json, write_json
from tf_mlm.errors import ConfigError, ConfigWarning, NewHeadWarning
from tf_mlm.layers import activation as activations
from tf_mlm.model.bert_encoder import BertEncoder
from tf_mlm.model.directory import config_json
from tf_mlm.model.directory.families import family_of
from tf_mlm.model.directory.memory import check_memory, too_large
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.model.directory.refused_weights import SAFETENSORS, has_weights, refuse_other_forms
from tf_mlm.model.directory.restore import restore
from tf_mlm.model.directory.tensor_files import (
    TensorFiles,
    write_safetensors,
)
from tf_mlm.model.directory.tensor_names import Entry, encoder_entries, frozen_entries, head_entries
from tf_mlm.model.directory.write_tokenizer import write_preprocessor
from tf_mlm.model.masked_lm import MaskedLM, head_activation, head_epsilon

CONFIG = "config.json"


def load(directory: str | os.PathLike[str], dtype: Any = "float32", *, seed: int = 0) -> MaskedLM:
    """Reads a model directory as transformers, or `save`, wrote it.

    Weights come from `model.safetensors`, `pytorch_model.bin` (needs torch) or `tf_model.h5`, or from their
    shards with an index. Heads for other tasks are ignored. An encoder without a masked-LM head gets a new
    one, drawn from `seed`, and a `NewHeadWarning`.

    Args:
        directory: holds `config.json`, weights, and `vocab.txt` or `tokenizer.json`; without the latter
            two the model has no preprocessor.
        dtype: policy of the model, whatever the file's dtype is: `float32`, `bfloat16`, `mixed_bfloat16`.
        seed: for a new head.

    Raises:
        ConfigError: when a JSON or vocabulary file is missing, malformed or not supported, or says
            sizes that need more memory than there is.
        CheckpointError: when the weights are damaged, or missing, unexpected or misshapen.

    Example:
        >>> import tempfile
        >>> config = ModelConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     save(MaskedLM.from_config(config), directory)
        ...     load(directory).config.hidden_size
        8
    """
    directory = Path(directory)
    config = read_config(directory)
    keys = dict(family_of(config).keys)
    check_memory(config, keys, directory / CONFIG)
    with TensorFiles(directory) as files:
        preprocessor = read_preprocessor(directory, config)
        try:
            model = MaskedLM.from_config(config, dtype=dtype, seed=seed, preprocessor=preprocessor)
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise too_large(config, keys, directory / CONFIG) from error
        restored = restore(model, files, directory / CONFIG)
    if unknown := config_json.unknown_keys(config):
        warnings.warn(
            f"`{directory / CONFIG}`: unknown keys have no effect, in transformers either: "
            f"{', '.join(unknown)}. If one of them changes what the model computes, its answers are wrong "
            "here.",
            ConfigWarning,
            stacklevel=2,
        )
    if restored.head_is_new:
        others = f" (found instead, and ignored: {', '.join(restored.ignored)})" if restored.ignored else ""
        warnings.warn(
            f"`{directory}` holds an encoder without a masked-LM head{others}. The head is new: its "
            "predictions are random until it is trained.",
            NewHeadWarning,
            stacklevel=2,
        )
    return model


def save(model: MaskedLM, directory: str | os.PathLike[str]) -> None:
    """Writes a model directory that `load` and transformers' `from_pretrained` read.

    Each file is written beside its place and then moved there, the weights first: an interrupted save
    leaves every file whole. Tensors keep the dtype of the model's variables.

    Raises:
        ConfigError: for a model that the Hugging Face layout cannot hold, such as one with another
            encoder or a head with settings of its own.
    """
    encoder = _check_saveable(model)
    config = encoder.config
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    family = family_of(config)
    tensors = _tensors([*encoder_entries(model), *frozen_entries(model), *head_entries(model)])
    if not config.tie_word_embeddings:
        # transformers 5 adds the bias of the decoder, transformers 4 that of the predictions.
        for copy, source in family.copies.items():
            tensors.setdefault(copy, tensors[source])
    write_safetensors(directory / SAFETENSORS, tensors)
    if model.preprocessor is not None:
        write_preprocessor(model.preprocessor, directory, config)
    write_json(directory / CONFIG, config_json.write_config(config, encoder.precision.variable))


def _tensors(entries: Iterable[Entry]) -> dict[str, np.ndarray]:
    tensors = {}
    for variable, names, transposed, _ in entries:
        for name, part in zip(names, np.split(variable.numpy(), len(names)), strict=True):
            tensors[name] = part.T if transposed else part
    return tensors


def read_config(directory: Path) -> ModelConfig:
    """The settings of a model directory, without its weights.

    Raises:
        ConfigError: naming the file, when it is missing, malformed or not supported.
    """
    if not directory.is_dir():
        raise ConfigError(
            f"`{directory}` is not a directory. Give a local model directory that holds a {CONFIG}; "
            "a model of the Hugging Face hub has to be downloaded first."
        )
    for marker, kind in (
        ("task.json", "a KerasHub preset"),
        ("bert_config.json", "a TensorFlow 1 checkpoint"),
    ):
        if (directory / marker).is_file() and not has_weights(directory):
            raise ConfigError(f"`{directory}` is {kind}. Run `tf-mlm convert` to make it a model directory.")
    path = directory / CONFIG
    if not path.is_file():
        refuse_other_forms(directory)
    values = read_json(path)
    try:
        return config_json.read_config(values)
    except ConfigError as error:
        raise ConfigError(f"`{path}`: {error}") from error


def _check_saveable(model: MaskedLM) -> BertEncoder:
    if not isinstance(model.encoder, BertEncoder):
        raise ConfigError(
            "Only a model around a BertEncoder has a Hugging Face layout. "
            f"Received: encoder={type(model.encoder).__name__}. Save its variables with tf.train.Checkpoint."
        )
    config, head = model.config, model.head
    table = model.encoder.embedding.token
    rules = {
        "the output table must be the encoder's, or an own kernel, as `tie_word_embeddings` says": (
            head.token_embedding is (table if config.tie_word_embeddings else None)
        ),
        f"`intermediate_activation` must be {head_activation(config)!r}": (
            head.intermediate_activation is activations.get(head_activation(config))
        ),
        "`activation` must be None": head.activation is activations.get(None),
        f"`layer_norm_epsilon` must be {head_epsilon(config)}": (
            head.layer_norm_epsilon == head_epsilon(config)
        ),
        "the embedding must have no `logit_soft_cap`": table.logit_soft_cap is None,
        f"`hidden_dim` must be {config.hidden_size}": head.hidden_dim == config.hidden_size,
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise ConfigError(
            "Hugging Face's layout has no place for this head: " + "; ".join(broken) + ". "
            "Make the model with MaskedLM.from_config, or save its variables with tf.train.Checkpoint."
        )
    config_json.check_config(config)
    return model.encoder
