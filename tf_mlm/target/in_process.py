"""A model that is asked in the process that asks: of a model directory, or of an export on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_mlm.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


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


def of_model(path: Path, top_k: int, bounded: bool = False) -> InProcess:
    """The model of a directory.

    Raises:
        ValueError: for a `top_k` beyond its vocabulary, which `bounded` takes for all of it.
    """
    import tensorflow as tf

    import tf_mlm
    from tf_mlm.model.questions import Inference
    from tf_mlm.signatures import OF_DIRECTORIES, SIGNATURES

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
        for signature in (*SIGNATURES, *OF_DIRECTORIES)
    }
    return InProcess(functions)


def of_export(version: Path) -> InProcess:
    """The export in a version directory.

    Raises:
        ConfigError: for a SavedModel that this version of `tf_mlm` did not write.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers its operations)

    from tf_mlm.signatures import PORTABLE, SIGNATURES

    loaded = tf.saved_model.load(str(version))
    found = loaded.signatures
    if missing := [signature.name for signature in SIGNATURES if signature.name not in found]:
        raise ConfigError(
            f"A SavedModel must come from `tf-mlm export` to be asked. Received: `{version}`, without the "
            f"signatures {', '.join(missing)}. Serve it instead, and ask with tf_mlm.Client(...).predict."
        )
    if old := [
        signature.name
        for signature in SIGNATURES
        if signature.outputs.keys() - found[signature.name].structured_outputs.keys()
    ]:
        raise ConfigError(
            "An export must have the outputs that this version of tf_mlm reads. Received: "
            f"`{version}`, where {', '.join(old)} lack some: an older version wrote it. "
            "Export the model again with `tf-mlm export`."
        )
    answers = {name: found.get(name + PORTABLE, found[name]) for name in found if not name.endswith(PORTABLE)}
    return InProcess(answers, owner=loaded)
