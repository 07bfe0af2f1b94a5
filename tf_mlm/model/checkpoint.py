"""The model directory: Hugging Face's own layout, read and written without a conversion step."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.config import ConfigError, ModelConfig, read_json
from tf_mlm.layers import activation as activations
from tf_mlm.model import hugging_face
from tf_mlm.model.encoder import BertEncoder
from tf_mlm.model.hugging_face import FAMILIES, Entry, Family
from tf_mlm.model.masked_lm import MaskedLM, head_activation
from tf_mlm.model.tensor_files import (
    SAFETENSORS,
    CheckpointError,
    TensorFiles,
    write_json,
    write_safetensors,
)
from tf_mlm.model.tokenizer_files import read_preprocessor, write_preprocessor

CONFIG = "config.json"

# TensorFlow 1 called the weights of a layer norm so, and the first PyTorch conversions kept it.
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
# Parts of an encoder checkpoint that a masked language model does not compute with.
_UNUSED = ("pooler.", "embeddings.position_ids")
_OTHER_HEADS = (
    "cls.seq_relationship.",
    "classifier",
    "pre_classifier",
    "qa_outputs",
    "discriminator_predictions",
)


class NewHeadWarning(UserWarning):
    """The checkpoint holds an encoder only: the masked-LM head starts from random weights."""


def load(directory: str | os.PathLike[str], dtype: Any = "float32", *, seed: int = 0) -> MaskedLM:
    """Reads a model directory as transformers, or `save`, wrote it.

    Weights come from `model.safetensors`, its shards with their index, or `pytorch_model.bin` (needs
    torch). Heads for other tasks are ignored. An encoder without a masked-LM head gets a new one, drawn
    from `seed`, and a `NewHeadWarning`.

    Args:
        directory: holds `config.json`, weights, and `vocab.txt` or `tokenizer.json`; without the latter
            two the model has no preprocessor.
        dtype: policy of the model, whatever the file's dtype is: `float32`, `bfloat16`, `mixed_bfloat16`.
        seed: for a new head.

    Raises:
        ConfigError: when a JSON or vocabulary file is missing, malformed or not supported.
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
    config = _read_config(directory)
    with TensorFiles(directory) as files:
        preprocessor = read_preprocessor(directory, config)
        model = MaskedLM.from_config(config, dtype=dtype, seed=seed, preprocessor=preprocessor)
        _restore(model, files)
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
    family = FAMILIES[config.model_type]
    tensors = _tensors([*hugging_face.encoder_entries(encoder), *hugging_face.head_entries(model)])
    if not config.tie_word_embeddings:
        # transformers 5 adds the bias of the decoder, transformers 4 that of the predictions.
        for copy, source in family.copies.items():
            tensors.setdefault(copy, tensors[source])
    write_safetensors(directory / SAFETENSORS, tensors)
    if model.preprocessor is not None:
        write_preprocessor(model.preprocessor, directory, config)
    write_json(directory / CONFIG, hugging_face.write_config(config, encoder.precision.variable))


def _tensors(entries: Iterable[Entry]) -> dict[str, np.ndarray]:
    tensors = {}
    for variable, names, transposed in entries:
        for name, part in zip(names, np.split(variable.numpy(), len(names), axis=-1), strict=True):
            tensors[name] = part.T if transposed else part
    return tensors


def _read_config(directory: Path) -> ModelConfig:
    if not directory.is_dir():
        raise ConfigError(
            f"`{directory}` is not a directory. Give a local model directory that holds a {CONFIG}; "
            "a model of the Hugging Face hub has to be downloaded first."
        )
    for marker, kind in (
        ("task.json", "a KerasHub preset"),
        ("bert_config.json", "a TensorFlow 1 checkpoint"),
    ):
        if (directory / marker).is_file() and not (directory / "model.safetensors").is_file():
            raise ConfigError(f"`{directory}` is {kind}. Run `tf-mlm convert` to make it a model directory.")
    path = directory / CONFIG
    values = read_json(path)
    try:
        return hugging_face.read_config(values)
    except ConfigError as error:
        raise ConfigError(f"`{path}`: {error}") from error


def _restore(model: MaskedLM, files: TensorFiles) -> None:
    """Assigns every variable, or none: names and shapes are all compared before the first tensor is read."""
    assert isinstance(model.encoder, BertEncoder)
    family = FAMILIES[model.config.model_type]
    names = {_modern(name): name for name in files.shapes}  # today's name → name in the file
    has_prefix = any(name.startswith(family.prefix) for name in names)
    prefix = family.prefix if has_prefix else ""
    encoder = list(hugging_face.encoder_entries(model.encoder, prefix))
    head = list(hugging_face.head_entries(model))
    copies = {
        copy: prefix + source.removeprefix(family.prefix) if source.startswith(family.prefix) else source
        for copy, source in family.copies.items()
    }
    if model.config.tie_word_embeddings:
        _check_copies(files, names, copies)
        alternatives = {source: (source, copy) for copy, source in copies.items()}
    else:  # only the bias has a copy then, and the copy is what transformers adds
        alternatives = {source: (copy, source) for copy, source in copies.items() if copy != family.decoder}

    def stored(name: str) -> str | None:
        """The name in the file, if the tensor or its copy is there."""
        return next((names[known] for known in alternatives.get(name, (name,)) if known in names), None)

    head_is_new = not any(stored(name) for entry in head for name in entry.names)
    entries = encoder if head_is_new else [*encoder, *head]
    rest = set(names) - {name for entry in entries for name in entry.names} - set(copies)
    ignored = {name for name in rest if _is_ignored(name, prefix, family)}
    _check_names(files, entries, stored, [names[name] for name in sorted(rest - ignored)])
    for variable, parts, transposed in entries:
        tensors = [_read(files, stored(part)) for part in parts]
        value = np.concatenate([tensor.T if transposed else tensor for tensor in tensors], axis=-1)
        variable.assign(value.astype(variable.dtype.as_numpy_dtype))
    if head_is_new:
        heads = sorted(name for name in ignored if not name.removeprefix(prefix).startswith(_UNUSED))
        others = f" (found instead, and ignored: {', '.join(heads)})" if heads else ""
        warnings.warn(
            f"`{files.directory}` holds an encoder without a masked-LM head{others}. The head is new: its "
            "predictions are random until it is trained.",
            NewHeadWarning,
            stacklevel=3,
        )


def _modern(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _is_ignored(name: str, prefix: str, family: Family) -> bool:
    """Whether a tensor that no variable asks for belongs to a part that this model does not have."""
    if name.startswith(prefix) and name.removeprefix(prefix).startswith(_UNUSED):
        return True
    if not prefix:  # a bare encoder: its names have nothing in common that a head's could be told from
        return name.startswith(_OTHER_HEADS)
    own_head = (*family.head.values(), family.output_bias.rsplit(".", 1)[0])
    return not name.startswith((prefix, *own_head))


def _check_copies(files: TensorFiles, names: dict[str, str], copies: dict[str, str]) -> None:
    for copy, source in copies.items():
        if copy not in names or source not in names:
            continue
        if not np.array_equal(files.read(names[copy]), files.read(names[source])):
            raise CheckpointError(
                f"`{files.file(names[copy])}`: `{names[copy]}` must equal `{names[source]}`, as {CONFIG} "
                "says tie_word_embeddings=true. Set it to false there to use both."
            )


def _check_names(
    files: TensorFiles,
    entries: list[Entry],
    stored: Callable[[str], str | None],
    unexpected: list[str],
) -> None:
    """Raises one error that lists all that is wrong."""
    lines = []
    for entry in entries:
        expected = entry.part_shape()
        for part in entry.names:
            name = stored(part)
            if name is None:
                lines.append(f"missing: {part}, expected shape {list(expected)}")
            elif files.shapes[name] != expected:
                lines.append(
                    f"misshapen: {name} in {files.file(name).name}, "
                    f"shape {list(files.shapes[name])}, expected {list(expected)}"
                )
    lines += [
        f"unexpected: {name} in {files.file(name).name}, shape {list(files.shapes[name])}"
        for name in unexpected
    ]
    if lines:
        listed = "".join(f"\n  {line}" for line in lines)
        raise CheckpointError(
            f"The weights in `{files.directory}` do not fit `{files.directory / CONFIG}`; correct the sizes "
            f"there, or copy the weights that belong to it.{listed}"
        )


def _read(files: TensorFiles, name: str | None) -> np.ndarray:
    assert name is not None  # _check_names has seen it
    tensor = files.read(name)
    if not tf.as_dtype(tensor.dtype).is_floating:
        raise CheckpointError(
            f"`{files.file(name)}`: weights must be floating point. Received: {name} of {tensor.dtype}. "
            "Quantised checkpoints have to be dequantised first."
        )
    return tensor


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
        f"`layer_norm_epsilon` must be {config.layer_norm_eps}": (
            head.layer_norm_epsilon == config.layer_norm_eps
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
    hugging_face.check_config(config)
    return model.encoder
