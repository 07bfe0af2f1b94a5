"""What a verb asks its questions to: a model directory, an export on disk, or a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np

    from tf_mlm.serving.client import Client


def open_target(target: str) -> Client:
    """A client of the server at an address, or of the model in a directory, loaded into this process.

    Raises:
        ClickException: for a path that holds neither a model nor an export.
    """
    from tf_mlm.serving.client import Client

    if "://" in target:
        return Client(target)
    path = Path(target)
    if (path / "config.json").is_file():
        answers, special_tokens = _of_model(path)
    elif version := _version_directory(path):
        answers, special_tokens = _of_export(version)
    else:
        raise click.ClickException(
            "A target must be a model directory (config.json), a version directory (saved_model.pb), a base "
            f"path with versions, or an address such as grpc://127.0.0.1:8500/mlm. Received: `{target}`."
        )
    # The address is only a label here: every question goes to the transport.
    return Client("grpc://in-process:1/mlm", special_tokens=special_tokens, transport=InProcess(answers))


class InProcess:
    """The transport of a client whose model runs in its own process."""

    def __init__(self, answers: Mapping[str, Callable[..., Any]]) -> None:
        self._answers = answers

    def predict(self, inputs: Mapping[str, np.ndarray], signature: str) -> dict[str, np.ndarray]:
        import tensorflow as tf

        outputs = self._answers[signature](**{alias: tf.constant(value) for alias, value in inputs.items()})
        return {alias: value.numpy() for alias, value in outputs.items()}

    def status(self) -> list[dict[str, Any]]:
        return []

    def metadata(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        """Nothing to close."""


def _version_directory(path: Path) -> Path | None:
    from tf_mlm.export.version_directory import versions

    if (path / "saved_model.pb").is_file():
        return path
    found = versions(path)
    return path / str(found[-1]) if found else None


def _of_model(path: Path) -> tuple[dict[str, Callable[..., Any]], tuple[str, ...]]:
    import tf_mlm
    from tf_mlm.export.saved_model import signature_functions
    from tf_mlm.model.inference import Inference

    model = tf_mlm.load(path)
    # Without XLA: a handful of questions is answered sooner than the programs are compiled.
    inference = Inference(model, top_k=min(100, model.head.vocabulary_size), xla=False)
    return signature_functions(inference), inference.preprocessor.vocabulary.config.special_tokens


def _of_export(version: Path) -> tuple[dict[str, Callable[..., Any]], tuple[str, ...]]:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers its operations)

    from tf_mlm.config import TokenizerConfig, from_json
    from tf_mlm.export.saved_model import read_description
    from tf_mlm.signatures import PORTABLE

    loaded = tf.saved_model.load(str(version))
    found = loaded.signatures
    answers = {name: found.get(name + PORTABLE, found[name]) for name in found if not name.endswith(PORTABLE)}
    # The functions live as long as the object they were loaded with.
    answers["__keep__"] = lambda: loaded
    config = from_json(TokenizerConfig, read_description(version).get("tokenizer", {}))
    return answers, config.special_tokens
