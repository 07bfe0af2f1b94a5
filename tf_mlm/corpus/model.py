"""Which model a job asks: told from any other by what it holds, so that an output is of one model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_mlm.corpus.answers import METHODS
from tf_mlm.errors import ConfigError
from tf_mlm.fills import beyond_export
from tf_mlm.serving.client.client import Client
from tf_mlm.serving.client.target import Target
from tf_mlm.signatures import OF_DIRECTORIES
from tf_mlm.target.open import ADDRESS, EXPORT, MODEL, kind_of


def fixed_target(target: str, verb: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """A target that stays the same model while a job runs, and what tells the model from another one.

    Args:
        target: a model directory, a version directory, a base path or an address.
        verb: what it will be asked.
        options: those of the verb.

    Returns:
        The model directory, the version directory, or the address with the version that the server has now;
        and a fingerprint of all files, or that address.

    Raises:
        ConfigError: for what is no model, or one that cannot answer the verb with these options.
        ClientError: from a server that does not answer.
    """
    kind, path = kind_of(target)
    check_answers(kind, target, verb, options)
    if kind == ADDRESS:
        address = _with_version(target)
        return address, address
    if kind == EXPORT and verb == "fill" and options["targets"] is None:
        _check_top_k(path, options["top_k"])
    return str(path.resolve()), _fingerprint(path)


def check_answers(kind: str, target: str, verb: str, options: Mapping[str, Any]) -> None:
    """Whether this kind of target answers such a question.

    Raises:
        ConfigError: naming what does.
    """
    of_directories = {signature.name for signature in OF_DIRECTORIES}
    asked = None
    if verb == "score" and METHODS[options["method"]].name in of_directories:
        asked = f"--method {options['method']}"
    elif verb == "embed" and options["pooling"] != "mean":
        asked = f"--pooling {options['pooling']}"
    elif verb == "tokenize":
        asked = "--to-tfrecord"
    if asked and kind != MODEL:
        raise ConfigError(
            f"{asked} needs a model directory. Received: `{target}`, {kind}. Name the directory that the "
            "export was made from."
        )


def _with_version(target: str) -> str:
    parsed = Target.parse(target)
    if parsed.version is not None:
        return target
    if parsed.label is not None:
        raise ConfigError(
            "A job asks one version of a model from its first row to its last. Received: "
            f"{target}, whose label may move. Name the version: {parsed}/versions/NUMBER."
        )
    with Client(target) as client:
        ready = [row["version"] for row in client.status() if row["state"] == "AVAILABLE"]
    if not ready:
        raise ConfigError(f"A server must have a version that is ready. Received: {target}, which has none.")
    return f"{parsed}/versions/{max(map(int, ready))}"


def _check_top_k(version: Path, top_k: int) -> None:
    try:
        most = json.loads((version / "assets.extra" / "tf_mlm.json").read_text(encoding="utf-8"))["top_k"]
    except (OSError, ValueError, KeyError):
        return  # `open_target` says what an export must have
    if top_k > most:
        raise ConfigError(beyond_export(top_k, most))


def _fingerprint(directory: Path) -> str:
    """Of the files that a model consists of; a training run beside them is none."""
    found = hashlib.blake2b(digest_size=8)
    for path in sorted(directory.rglob("*")):
        inside = path.relative_to(directory)
        if path.is_file() and inside.parts[0] != "training":
            found.update(inside.as_posix().encode())
            with path.open("rb") as stream:
                found.update(hashlib.file_digest(stream, "blake2b").digest())
    return found.hexdigest()
