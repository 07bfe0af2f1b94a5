"""Google's BERT checkpoints of TensorFlow 1: `bert_model.ckpt.*`, `bert_config.json` and `vocab.txt`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.config import read_json
from tf_mlm.convert.named_arrays import NamedArrays
from tf_mlm.convert.source import Source, read_vocabulary
from tf_mlm.errors import CheckpointError, ConfigError
from tf_mlm.model.directory import config_json

CONFIG = "bert_config.json"

# What training keeps beside the weights, and what pretraining's other task and fine-tuning add.
_SLOTS = re.compile(r"(^|/)(adam_[mv]|Adam(_\d+)?|lamb_[mv]|Momentum|ExponentialMovingAverage)$")
_COUNTERS = re.compile(r"^(global_step|beta\d_power|good_steps|loss_scale)(_\d+)?$")
_OTHER_TASKS = re.compile(r"^(bert/pooler/|cls/seq_relationship/|output_(weights|bias)$|cls/squad/)")

_OBJECT_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def recognises(source: Path) -> bool:
    """Whether `source` is such a directory, or the prefix of such a checkpoint."""
    return (source / CONFIG).is_file() or Path(f"{source}.index").is_file()


def read(source: Path, lower_case: bool | None) -> Source:
    """The checkpoint under Hugging Face's names; kernels are transposed as PyTorch has them."""
    directory = source if source.is_dir() else source.parent
    prefix = _only_checkpoint(directory) if source.is_dir() else source
    config_file = directory / CONFIG
    try:
        config = config_json.read_config({**read_json(config_file), "model_type": "bert"})
    except ConfigError as error:
        raise ConfigError(f"`{config_file}`: {error}") from error
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"`{prefix}` is not a readable TensorFlow checkpoint ({error}).") from error
    if any(name.endswith(_OBJECT_VALUE) for name in shapes):
        raise CheckpointError(
            f"`{prefix}` is a checkpoint of TensorFlow 2 (tf.train.Checkpoint or Keras), whose names only "
            "the program that wrote it can explain. Load it there and save model.safetensors, or give a "
            "checkpoint of TensorFlow 1's BERT."
        )
    slots = {name for name in shapes if _SLOTS.search(name) or _COUNTERS.match(name)}
    other_tasks = {name for name in set(shapes) - slots if _OTHER_TASKS.match(name)}
    arrays: dict[str, Any] = {}
    for name in sorted(set(shapes) - slots - other_tasks):
        shape, kernel = tuple(shapes[name]), name.endswith("/kernel")
        arrays[modern_name(name)] = (
            shape[::-1] if kernel else shape,
            partial(_read, prefix, reader, name, kernel),
        )
    notes = [
        "The graph is not in the files of a TensorFlow 1 checkpoint, so weights were compared, not logits."
    ]
    if config.hidden_act == "gelu":
        notes.append("`gelu` is read as the exact function, as transformers reads it.")
    if slots:
        notes.append(f"{len(slots)} variables of the optimizer were left out.")
    vocabulary = directory / "vocab.txt"
    return Source(
        kind="Google BERT checkpoint (TensorFlow 1)",
        config=config,
        config_file=config_file,
        tensors=NamedArrays(prefix, arrays),
        vocabulary=read_vocabulary(vocabulary, lower_case) if vocabulary.is_file() else None,
        ignored=tuple(other_tasks),
        notes=tuple(notes),
    )


def modern_name(name: str) -> str:
    """Hugging Face's name of a variable.

    Example:
        >>> modern_name("bert/encoder/layer_3/attention/self/query/kernel")
        'bert.encoder.layer.3.attention.self.query.weight'
    """
    name = re.sub(r"/layer_(\d+)/", r"/layer/\1/", name)
    name = re.sub(r"_embeddings$", "_embeddings/weight", name)
    name = re.sub(r"/(kernel|gamma)$", "/weight", name)
    name = re.sub(r"/beta$", "/bias", name)
    return name.replace("cls/predictions/output_bias", "cls/predictions/bias").replace("/", ".")


def _only_checkpoint(directory: Path) -> Path:
    prefixes = [path.with_suffix("") for path in sorted(directory.glob("*.index"))]
    if len(prefixes) != 1:
        found = ", ".join(path.name for path in prefixes) or "none"
        raise ConfigError(
            f"`{directory}` must hold one checkpoint (*.ckpt.index). Received: {found}. "
            "Give the path of the checkpoint itself, without `.index`."
        )
    return prefixes[0]


def _read(prefix: Path, reader: Any, name: str, kernel: bool) -> np.ndarray:
    try:
        value = reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise CheckpointError(f"`{prefix}`: the variable {name} cannot be read ({error}).") from error
    return value.T if kernel else value
