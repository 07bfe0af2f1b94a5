"""Turns a checkpoint of another system into a model directory, and says how well they agree."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from tf_mlm.convert import keras_hub_model, tensorflow1
from tf_mlm.convert.source import Logits, Source, read_vocabulary
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.checkpoint import load, save
from tf_mlm.model.directory.restore import restore
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor


@dataclasses.dataclass(frozen=True)
class Report:
    """What a conversion did, and the proof of it.

    Attributes:
        tensors: how many were converted; each was read back from the directory and is equal.
        largest_weight_difference: between the checkpoint and the directory, read back.
        largest_logit_difference: between the original model and the directory, read back, on random
            texts; None when the original cannot run here.
        top1_agreement: share of the masks where both prefer the same token; None likewise.
        cases: how many masks were compared.
    """

    source: str
    kind: str
    directory: str
    tensors: int
    parameters: int
    ignored: tuple[str, ...]
    head_is_new: bool
    largest_weight_difference: float
    largest_logit_difference: float | None
    top1_agreement: float | None
    cases: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return dataclasses.asdict(self)


def convert(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    vocabulary: str | os.PathLike[str] | None = None,
    lower_case: bool | None = None,
) -> Report:
    """Writes a checkpoint as a model directory, reads that back and compares the two.

    Args:
        source: a KerasHub preset directory of a masked language model or of its backbone, a `.keras` file
            with one, or a Google BERT checkpoint: a directory with `bert_config.json`, or the path of its
            `bert_model.ckpt`. Which of KerasHub's classes: `keras_hub_families.KERAS_HUB_FAMILIES`.
        directory: the model directory to write.
        vocabulary: a `vocab.txt`, when the checkpoint brings none.
        lower_case: whether a WordPiece vocabulary is for lower-cased text; found out unless given.

    Raises:
        ConfigError: when `source` is none of these, its settings or vocabulary do not fit, or
            `directory` is not empty.
        CheckpointError: when weights are missing, unexpected or misshapen.
        ModuleNotFoundError: for a KerasHub checkpoint, when keras-hub is not installed.
    """
    source, directory = Path(source), Path(directory)
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(
            "The model directory must be new or empty, so that no file of another model stays in it. "
            f"Received: `{directory}`."
        )
    found = _open(source, lower_case)
    notes = list(found.notes)
    preprocessor = _preprocessor(found, vocabulary, lower_case)
    if preprocessor is None:
        notes.append("There was no vocabulary: the directory holds none. Pass one, or add vocab.txt to it.")
    model = MaskedLM.from_config(found.config, seed=0, preprocessor=preprocessor)
    restored = restore(model, found.tensors, found.config_file)
    if restored.head_is_new:
        notes.append("There was no masked-LM head: the head is new and has to be trained.")
    save(model, directory)
    reloaded = load(directory)
    cases, difference, agreement = 0, None, None
    if found.logits is not None and not restored.head_is_new:
        cases, difference, agreement = _compare_logits(reloaded, found.logits)
    return Report(
        source=str(source),
        kind=found.kind,
        directory=str(directory),
        tensors=len(found.tensors.shapes) - len(restored.ignored),
        parameters=sum(int(np.prod(variable.shape)) for variable in model.variables),
        ignored=tuple(sorted((*found.ignored, *restored.ignored))),
        head_is_new=restored.head_is_new,
        largest_weight_difference=_compare_weights(reloaded, found, restored.head_is_new),
        largest_logit_difference=difference,
        top1_agreement=agreement,
        cases=cases,
        notes=tuple(notes),
    )


def _preprocessor(
    found: Source, vocabulary: str | os.PathLike[str] | None, lower_case: bool | None
) -> TextPreprocessor | None:
    """With the vocabulary that is given, or else with the checkpoint's own, if it has one."""
    vocab = found.vocabulary if vocabulary is None else read_vocabulary(Path(vocabulary), lower_case)
    if vocab is None:
        return None
    if vocab.size != found.config.vocab_size:
        raise ConfigError(
            "The vocabulary must have one token per row of the embedding. "
            f"Received: {vocab.size} tokens, vocab_size={found.config.vocab_size} in `{found.config_file}`."
        )
    return TextPreprocessor(vocab, max_length=found.config.max_length)


def _open(source: Path, lower_case: bool | None) -> Source:
    for kind in (keras_hub_model, tensorflow1):
        if kind.recognises(source):
            return kind.read(source, lower_case)
    raise ConfigError(
        "`source` must be a KerasHub preset directory (task.json or config.json of KerasHub), a `.keras` "
        "file, or a Google BERT checkpoint (a directory with bert_config.json, or the path of "
        f"bert_model.ckpt beside it). Received: `{source}`."
    )


def _compare_weights(reloaded: MaskedLM, found: Source, head_is_new: bool) -> float:
    """Restores the checkpoint into a second model, and compares all variables with the reloaded one."""
    original = MaskedLM.from_config(found.config, seed=0)
    restore(original, found.tensors, found.config_file)
    pairs = zip(reloaded.variables, original.variables, strict=True)
    return max(float(np.abs(ours.numpy() - theirs.numpy()).max()) for ours, theirs in pairs)


def _compare_logits(reloaded: MaskedLM, original: Logits) -> tuple[int, float, float]:
    """On random texts of every length up to the model's, padded, with two segments and eight masks."""
    config = reloaded.config
    rng = np.random.default_rng(0)
    length = min(config.max_length, 64)
    lengths = np.linspace(3, length, 8).astype(np.int32)
    real = np.arange(length) < lengths[:, None]
    ids = rng.integers(0, config.vocab_size - 1, real.shape)
    ids += ids >= config.pad_token_id  # which stands in no text, and means padding wherever KerasHub finds it
    token_ids = np.where(real, ids, config.pad_token_id)
    segments = real & (np.arange(length) >= lengths[:, None] // 2) & (config.type_vocab_size > 1)
    positions = rng.integers(0, lengths[:, None], (8, 8))
    inputs = [array.astype(np.int32) for array in (token_ids, lengths, segments, positions)]
    ours, theirs = np.asarray(reloaded(*inputs)), original(*inputs)
    agreement = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
    return positions.size, float(np.abs(ours - theirs).max()), agreement
