"""What a verb asks its questions to: a model directory, an export on disk, or a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np

    from tf_mlm.serving.client.client import Client


def open_target(target: str, top_k: int = 1, *, bounded: bool = False) -> Client:
    """A client of the server at an address, or of the model in a directory, loaded into this process.

    Args:
        target: what the user named.
        top_k: how many fills will be asked for; only a model directory can still choose.
        bounded: take a `top_k` beyond the vocabulary for all of it.

    Raises:
        ClickException: for a path that holds neither a model nor an export of one.
        ValueError: for a `top_k` beyond the vocabulary of a model directory.
    """
    from tf_mlm.serving.client.client import Client
    from tf_mlm.version_directory import newest

    if "://" in target:
        return Client(target)
    path = Path(target)
    if (path / "config.json").is_file():
        transport = _of_model(path, top_k, bounded)
    elif version := path if (path / "saved_model.pb").is_file() else newest(path):
        transport = _of_export(version)
    else:
        raise click.ClickException(
            "A target must be a model directory (config.json), a version directory (saved_model.pb), a base "
            f"path with versions, or an address such as grpc://127.0.0.1:8500/mlm. Received: `{target}`."
        )
    # The address is only a label here: every question goes to the transport.
    return Client("grpc://in-process:1/mlm", transport=transport)


class InProcess:
    """The transport of a client whose model runs in its own process.

    Args:
        answers: a function per signature.
        owner: what the functions belong to; they work only as long as it lives.
    """

    def __init__(self, answers: Mapping[str, Callable[..., Any]], owner: Any = None) -> None:
        self._answers, self._owner = answers, owner

    async def predict(
        self, inputs: Mapping[str, np.ndarray], signature: str, outputs: Mapping[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        import tensorflow as tf

        from tf_mlm.model.graph_rewriting import graphs_as_written
        from tf_mlm.model.rules import in_plain_words

        tensors = {alias: tf.constant(value, _dtype(value)) for alias, value in inputs.items()}
        with in_plain_words(), graphs_as_written():
            found = self._answers[signature](**tensors)
        return {alias: value.numpy() for alias, value in found.items() if outputs is None or alias in outputs}

    async def status(self) -> list[dict[str, Any]]:
        return []

    async def metadata(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        """Nothing to close."""


def _dtype(array: np.ndarray) -> str | None:
    """What is empty has no type of its own."""
    return "string" if array.dtype.kind == "O" else None


def _of_model(path: Path, top_k: int, bounded: bool) -> InProcess:
    import tensorflow as tf

    import tf_mlm
    from tf_mlm.model.questions import Inference
    from tf_mlm.signatures import SIGNATURES

    # Without XLA: a handful of questions is answered sooner than the programs are compiled.
    model = tf_mlm.load(path)
    if bounded:
        top_k = min(top_k, model.config.vocab_size)
    inference = Inference(model, top_k=top_k, xla=False)
    sizes = {"hidden": inference.hidden_size}
    functions = {
        signature.name: tf.function(
            inference.answers[signature.name],
            [
                tf.TensorSpec([sizes.get(axis) for axis in tensor.shape], tensor.dtype)
                for tensor in signature.inputs.values()
            ],
            autograph=False,
        )
        for signature in SIGNATURES
    }
    return InProcess(functions)


def _of_export(version: Path) -> InProcess:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers its operations)

    from tf_mlm.signatures import PORTABLE, SIGNATURES

    loaded = tf.saved_model.load(str(version))
    found = loaded.signatures
    if missing := [signature.name for signature in SIGNATURES if signature.name not in found]:
        raise click.ClickException(
            f"A SavedModel must come from `tf-mlm export` to be asked. Received: `{version}`, without the "
            f"signatures {', '.join(missing)}. Serve it instead, and ask with tf_mlm.Client(...).predict."
        )
    if old := [
        signature.name
        for signature in SIGNATURES
        if signature.outputs.keys() - found[signature.name].structured_outputs.keys()
    ]:
        raise click.ClickException(
            "An export must have the outputs that this version of tf_mlm reads. Received: "
            f"`{version}`, where {', '.join(old)} lack some: an older version wrote it. "
            "Export the model again with `tf-mlm export`."
        )
    answers = {name: found.get(name + PORTABLE, found[name]) for name in found if not name.endswith(PORTABLE)}
    return InProcess(answers, owner=loaded)
