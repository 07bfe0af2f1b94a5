"""Named tensors into the variables of a model, or one error that lists all that does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_mlm.errors import CheckpointError
from tf_mlm.model.directory.families import family_of
from tf_mlm.model.directory.family import Family
from tf_mlm.model.directory.tensor_files import TensorSource
from tf_mlm.model.directory.tensor_names import Entry, encoder_entries, frozen_entries, head_entries
from tf_mlm.model.masked_lm import MaskedLM

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


class Restored(NamedTuple):
    """What became of a checkpoint.

    Attributes:
        head_is_new: there was no masked-LM head; the model's own stays as it is.
        ignored: tensors of heads for other tasks.
    """

    head_is_new: bool
    ignored: tuple[str, ...]


def restore(model: MaskedLM, tensors: TensorSource, config_file: Path) -> Restored:
    """Assigns every variable, or none: names and shapes are all compared before the first tensor is read.

    Args:
        model: its variables are set; those of the head only if the checkpoint has a masked-LM head.
        tensors: under Hugging Face's names, with or without the prefix of the encoder.
        config_file: what the sizes came from, for messages.

    Raises:
        CheckpointError: listing all missing, unexpected and misshapen tensors.
    """
    family = family_of(model.config)
    # Today's name → name in the file, of several the first.
    names = {_modern(name, family): name for name in sorted(tensors.shapes, reverse=True)}
    has_prefix = any(name.startswith(family.prefix) for name in names)
    prefix = family.prefix if has_prefix else ""
    frozen = [entry for entry in frozen_entries(model, prefix) if all(name in names for name in entry.names)]
    encoder = [*encoder_entries(model, prefix), *frozen]
    head = list(head_entries(model))
    copies = {
        copy: prefix + source.removeprefix(family.prefix) if source.startswith(family.prefix) else source
        for copy, source in family.copies.items()
    }
    if not model.config.tie_word_embeddings:  # only the bias has a copy then
        copies = {copy: source for copy, source in copies.items() if copy != family.decoder}
    _check_copies(tensors, names, copies)
    alternatives = {source: (source, copy) for copy, source in copies.items()}

    def stored(name: str) -> str | None:
        """The name in the file, if the tensor or its copy is there."""
        return next((names[known] for known in alternatives.get(name, (name,)) if known in names), None)

    head_is_new = bool(head) and not any(stored(name) for entry in head for name in entry.names)
    entries = encoder if head_is_new else [*encoder, *head]
    rest = set(names) - {name for entry in entries for name in entry.names} - set(copies)
    ignored = {name for name in rest if _is_ignored(name, prefix, family)}
    unexpected = [names[name] for name in sorted(rest - ignored)]
    _check_names(tensors, config_file, entries, stored, unexpected, family)
    for variable, parts, transposed, _ in entries:
        values = [_read(tensors, stored(part)) for part in parts]
        value = np.concatenate([part.T if transposed else part for part in values], axis=0)
        variable.assign(value.astype(variable.dtype.as_numpy_dtype))
    heads = sorted(
        name for name in ignored if not name.removeprefix(prefix).startswith((*_UNUSED, *family.unused))
    )
    return Restored(head_is_new, tuple(heads))


def _modern(name: str, family: Family) -> str:
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    for pattern, new in family.older.items():
        name = re.sub(pattern, new, name)
    return name


def _is_ignored(name: str, prefix: str, family: Family) -> bool:
    """Whether a tensor that no variable asks for belongs to a part that this model does not have."""
    if name.startswith(prefix) and name.removeprefix(prefix).startswith((*_UNUSED, *family.unused)):
        return True
    if not prefix:  # a bare encoder: its names have nothing in common that a head's could be told from
        return name.startswith(_OTHER_HEADS)
    own_head = (*family.head.values(), family.output_bias.rsplit(".", 1)[0])
    return not name.startswith((prefix, *own_head))


def _check_copies(tensors: TensorSource, names: dict[str, str], copies: dict[str, str]) -> None:
    for copy, source in copies.items():
        if copy not in names or source not in names:
            continue
        if not np.array_equal(tensors.read(names[copy]), tensors.read(names[source])):
            raise CheckpointError(
                f"`{tensors.file(names[copy])}`: `{names[copy]}` must equal `{names[source]}`, of which it "
                "is a copy in every model that transformers trains. Take the wrong one out of the file; "
                "weights of embeddings and decoder may differ if config.json says tie_word_embeddings=false."
            )


def _check_names(
    tensors: TensorSource,
    config_file: Path,
    entries: list[Entry],
    stored: Callable[[str], str | None],
    unexpected: list[str],
    family: Family,
) -> None:
    """Raises one error that lists all that is wrong."""
    lines = []
    for entry in entries:
        expected = entry.part_shape()
        for part in entry.names:
            name = stored(part)
            if name is None:
                lines.append(f"missing: {part}, expected shape {list(expected)}")
            elif tensors.shapes[name] != expected:
                lines.append(
                    f"misshapen: {name} in {tensors.file(name).name}, "
                    f"shape {list(tensors.shapes[name])}, expected {list(expected)}"
                    f"{_reason(entry, tensors.shapes[name], family)}"
                )
    lines += [
        f"unexpected: {name} in {tensors.file(name).name}, shape {list(tensors.shapes[name])}"
        for name in unexpected
    ]
    if lines:
        listed = "".join(f"\n  {line}" for line in lines)
        raise CheckpointError(
            f"The weights in `{tensors.origin}` do not fit `{config_file}`; correct the sizes there, or copy "
            f"the weights that belong to it.{listed}"
        )


def _reason(entry: Entry, shape: Sequence[int], family: Family) -> str:
    """Which key of the config a table of another length contradicts."""
    expected = entry.part_shape()
    if entry.rows is None or tuple(shape[1:]) != expected[1:]:
        return ""
    return f", as {family.keys.get(entry.rows, entry.rows)}={expected[0]} says"


def _read(tensors: TensorSource, name: str | None) -> np.ndarray:
    assert name is not None  # _check_names has seen it
    tensor = tensors.read(name)
    if not tf.as_dtype(tensor.dtype).is_floating:
        raise CheckpointError(
            f"`{tensors.file(name)}`: weights must be floating point. Received: {name} of {tensor.dtype}. "
            "Quantised checkpoints have to be dequantised first."
        )
    return tensor
