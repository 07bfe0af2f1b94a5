"""Resuming a run: the options that it was started with, and a refusal, by name, of others.

What shapes the finished weights must stay (`run_options`), text, vocabulary and first weights included; the
fields of `TrainConfig` that are `resumable` may change.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.durable import read_checked, write_checked
from tf_mlm.errors import ConfigError
from tf_mlm.text.digests import vocabulary_digest
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.token_store import TokenStore
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import named_variables
from tf_mlm.training.recipes import BERT
from tf_mlm.training.run.checkpointing import CHECKPOINTS, MANIFEST, Checkpoint

CORPUS = "corpus.json"
FAMILY = "model.model_type"
"""The architecture among the `run_options` of a checkpoint."""
READING = ("text_field", "line_by_line")
# What the model says itself, or what only decides how the text was read.
_COVERED = (
    *("architecture", "hidden_size", "layers", "heads", "vocabulary_size", "rope_theta"),
    *READING,
)
FILES_SHOWN = 5


def run_options(
    config: TrainConfig,
    model: ModelConfig,
    vocabulary: Vocabulary,
    store: TokenStore,
    *,
    steps: int,
    start: str | None = None,
) -> dict[str, Any]:
    """Every option that shapes the finished weights, as JSON values.

    `start` is the `weights_digest` of the model that is continued.
    """
    options = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if not field.metadata["resumable"] and field.name not in _COVERED
    }
    sizes = {
        f"model.{k}": v
        for k, v in dataclasses.asdict(dataclasses.replace(model, extra={})).items()
        if k != "extra"
    }
    return {
        **options,
        **sizes,
        "steps": steps,
        "from": start,
        "corpus": store.digest,
        "vocabulary": vocabulary_digest(vocabulary),
        "tensorflow": tf.__version__,
    }


def weights_digest(model: tf.Module) -> str:
    """A fingerprint of all variables of a model."""
    digest = hashlib.blake2b(digest_size=8)
    for name, variable in sorted(named_variables(model).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()


def check_options(
    checkpoint: Checkpoint,
    options: Mapping[str, Any],
    explain: Callable[[str], str | None] = lambda name: None,
) -> None:
    """Refuses to resume from a checkpoint that was written under other options.

    Args:
        checkpoint: of the run.
        options: its `run_options` now.
        explain: name of an option that differs → what to say of it, in place of both values.

    Raises:
        ConfigError: naming the options that differ.
    """
    options = json.loads(json.dumps(options))  # as they are once they were written
    names = sorted(set(checkpoint.options) | set(options))
    absent, defaults = object(), _earlier_defaults()
    before = {**{n: defaults.get(n, absent) for n in names}, **checkpoint.options}
    changed = [n for n in names if before[n] != options.get(n, absent)]
    if changed:
        details = "; ".join(
            explain(name) or f"`{name}` was {checkpoint.options.get(name)!r} and is now {options.get(name)!r}"
            for name in changed
        )
        raise ConfigError(
            f"A run is resumed with the options it was started with; {details}. Give what it was started "
            f"with to continue from step {checkpoint.step}, or another output directory (or --fresh) to "
            "start anew."
        )


def check_architecture(run_directory: Path, architecture: str) -> None:
    """Refuses to go on with a new model of another family, before a vocabulary is learnt for it.

    Raises:
        ConfigError: naming both families.
    """
    manifest = _newest_manifest(run_directory)
    before = architecture if manifest is None else manifest["options"].get(FAMILY, architecture)
    if manifest is None or before == architecture:
        return
    raise ConfigError(
        f"A run is resumed with the options it was started with; `architecture` was {before!r} and is now "
        f"{architecture!r}. Give what it was started with to continue from step {manifest['step']}, or "
        "another output directory (or --fresh) to start anew."
    )


def _earlier_defaults() -> dict[str, Any]:
    """What options meant in runs that were started before there were records of them."""
    settings = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    sizes = {f"model.{field.name}": field.default for field in dataclasses.fields(ModelConfig)}
    return {**settings, **sizes, **BERT, "packed": False}


def as_started(config: TrainConfig, run_directory: Path) -> TrainConfig:
    """The settings, as they are of a run that was started when BERT's defaults were those of all."""
    manifest = _newest_manifest(run_directory)
    options = {} if manifest is None else manifest["options"]
    older = {
        name: BERT[name]
        for name in config.left_open
        if options.get(name) == BERT[name] != getattr(config, name)
    }
    # A config that is made again no longer knows what was left open.
    return dataclasses.replace(config, **older) if older else config


def _newest_manifest(run_directory: Path) -> dict[str, Any] | None:
    for directory in sorted((run_directory / CHECKPOINTS).glob("step-*"), reverse=True):
        with contextlib.suppress(OSError, ValueError):  # damaged ones are reported when they are restored
            manifest: dict[str, Any] = read_checked(directory / MANIFEST)
            return manifest
    return None


def remember_corpus(run_directory: Path, store: TokenStore, config: TrainConfig) -> None:
    """Writes down which files a run reads, so that a change of them can be named later."""
    write_checked(run_directory / CORPUS, _corpus(store, config))


def explain_change(
    run_directory: Path, store: TokenStore, config: TrainConfig
) -> Callable[[str], str | None]:
    """Name of an option → what changed, for those whose values are fingerprints."""

    def explain(name: str) -> str | None:
        if name == "from":
            return "`--from` names a model with other weights than the one it was started from"
        if name == "vocabulary":
            return "the vocabulary is another one"
        if name != "corpus":
            return None
        before = None
        with contextlib.suppress(OSError, ValueError):
            before = read_checked(run_directory / CORPUS)
        return _text_changed(before, _corpus(store, config))

    return explain


def _corpus(store: TokenStore, config: TrainConfig) -> dict[str, Any]:
    return {"files": store.files, **{name: getattr(config, name) for name in READING}}


def _text_changed(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    changes = [] if before is None else _changes(before["files"], now["files"])
    if before is not None:
        changes += [
            f"`{name}` was {before[name]!r} and is now {now[name]!r}"
            for name in READING
            if before[name] != now[name]
        ]
    shown = ", ".join(changes[:FILES_SHOWN])
    shown += f" and {len(changes) - FILES_SHOWN} more" if len(changes) > FILES_SHOWN else ""
    return (
        "the text has changed"
        + (f" ({shown})" if shown else "")
        + "; to train on other text, let this run finish and continue its model with --from"
    )


def _changes(before: list[list[Any]], now: list[list[Any]]) -> list[str]:
    old = {path: (size, digest) for path, size, digest in before}
    new = {path: (size, digest) for path, size, digest in now}
    # A file that moved, with all that it holds, is no change.
    gone = {path for path in old if path not in new}
    added = {path for path in new if path not in old}
    moved = {old[path][1] for path in gone} & {new[path][1] for path in added}
    changes = [f"`{path}` is gone" for path in old if path in gone and old[path][1] not in moved]
    changes += [f"`{path}` is new" for path in new if path in added and new[path][1] not in moved]
    for path in (path for path in old if path in new):
        (size, digest), (new_size, new_digest) = old[path], new[path]
        if size != new_size:
            grown = "grown" if new_size > size else "shrunk"
            changes.append(f"`{path}` has {grown} from {size:,} to {new_size:,} bytes")
        elif digest != new_digest:
            changes.append(f"`{path}` holds other text of the same size, or is read otherwise")
    return changes or ["the same files come in another order"]
