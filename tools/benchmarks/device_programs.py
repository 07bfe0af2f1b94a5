"""The real fill program and the real training step, as files that run wherever jax sees a device.

TensorFlow lowers a compiled function to StableHLO, which needs no device. What each argument of a program is
stands in a manifest beside it, by the names that transformers has for the weights, so that a machine
without TensorFlow makes the same weights for it and for a peer.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from benchmarks.tpu_compiler import lowered, training_step
from tf_mlm.config import ModelConfig
from tf_mlm.layers.top_k import top_k
from tf_mlm.model.directory.config_json import write_config
from tf_mlm.model.directory.tensor_names import encoder_entries, head_entries
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.step import Batch

CANDIDATES = 5
SOURCES = Path(__file__).resolve().parent.parent / "device"
"""What runs there: no TensorFlow, nothing of this package."""


class Shape(NamedTuple):
    """Rows, tokens of each, and masks of each."""

    batch: int
    length: int
    masks: int


class Programs:
    """Lowers programs of one model into a folder, and lists them in its `manifest.json`.

    Args:
        config: sizes of the model. Its weights are made where the program runs.
        folder: made if it does not exist.
    """

    def __init__(self, config: ModelConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._programs: list[dict[str, Any]] = []

    def fill(self, shape: Shape, dtype: str) -> None:
        """Ids, lengths, segments, positions → probabilities and ids of the likeliest tokens there."""
        model = MaskedLM.from_config(self._config, dtype=dtype, seed=0)

        def fill(ids: tf.Tensor, lengths: tf.Tensor, segments: tf.Tensor, positions: tf.Tensor) -> Any:
            logits = model(ids, lengths, segments, positions)
            rows = tf.reshape(logits, [-1, logits.shape[-1]])
            best, tokens = top_k(rows, CANDIDATES)
            probabilities = tf.exp(best - tf.reduce_logsumexp(rows, -1, keepdims=True))
            answers = [shape.batch, shape.masks, CANDIDATES]
            return tf.reshape(probabilities, answers), tf.reshape(tokens, answers)

        ids = tf.zeros([shape.batch, shape.length], tf.int32)
        slots = tf.zeros([shape.batch, shape.masks], tf.int32)
        inputs = {
            "ids": ids,
            "lengths": tf.fill([shape.batch], shape.length),
            "segments": ids,
            "positions": slots,
        }
        self._save("fill", shape, dtype, fill, inputs, _weights(model))

    def train(self, shape: Shape, dtype: str, *, dropout: bool = True, loss: str = "auto") -> None:
        """One optimizer step: the metrics, and every variable anew."""
        config = self._config
        if not dropout:
            config = dataclasses.replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        step, _ = training_step(config, shape.batch, shape.length, dtype, loss=loss)
        roles = _weights(step.model) | _second_moments(step.optimizer)
        slots = tf.zeros([shape.batch, shape.masks], tf.int32)
        inputs = {
            "ids": tf.zeros([shape.batch, shape.length], tf.int32),
            "lengths": tf.fill([shape.batch], shape.length),
            "positions": slots,
            "targets": slots,
            "weights": tf.ones([shape.batch, shape.masks]),
        }
        work = "train" if dropout else "train_without_dropout"
        self._save(work, shape, dtype, lambda *arrays: step(Batch(*arrays)), inputs, roles)

    def finish(self) -> Path:
        """Writes the manifest and what runs the programs; returns the folder."""
        manifest = {"config": write_config(self._config), "programs": self._programs}
        (self._folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
        for source in sorted(SOURCES.glob("*.py")):
            shutil.copy(source, self._folder / source.name)
        return self._folder

    def _save(
        self,
        work: str,
        shape: Shape,
        dtype: str,
        function: Callable[..., Any],
        inputs: Mapping[str, tf.Tensor],
        roles: Mapping[int, dict[str, Any]],
    ) -> None:
        name = f"{work}_{dtype}_{shape.batch}x{shape.length}"
        text = lowered(function, tuple(inputs.values()))
        # The places in the source are most of the text, and nobody reads them there.
        text = re.sub(
            r"^#loc.*\n", "", re.sub(r" loc\((?:[^()\"]|\"[^\"]*\"|\([^()]*\))*\)", "", text), flags=re.M
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(self._folder / f"{name}.mlir.gz", "wt") as file:
            file.write(text)
        traced = tf.function(function, jit_compile=True, autograph=False).get_concrete_function(
            *inputs.values()
        )
        arguments: list[dict[str, Any]] = [{"input": name} for name in inputs]
        variables = {id(variable.handle): variable for variable in traced.graph.variables}
        for handle in traced.captured_inputs:
            variable = variables[id(handle)]
            arguments.append(roles.get(id(handle), {"value": 0}) | _type(variable))
        for argument, tensor in zip(arguments, inputs.values(), strict=False):
            argument.update(_type(tensor))
        self._programs.append(
            {"name": name, "work": work, "dtype": dtype, **shape._asdict(), "arguments": arguments}
        )


def _type(tensor: Any) -> dict[str, Any]:
    return {"shape": tensor.shape.as_list(), "dtype": tensor.dtype.name}


def _weights(model: MaskedLM) -> dict[int, dict[str, Any]]:
    """What each variable is, by the identity of its handle: tensors, joined along the first axis."""
    return {
        id(entry.variable.handle): {"tensors": list(entry.names), "transposed": entry.transposed}
        for entries in (encoder_entries(model), head_entries(model))
        for entry in entries
    }


def _second_moments(optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    """The averages of squares: above 0, so that a step is no larger than one later in a run."""
    return {id(second.handle): {"value": 1e-4} for second in optimizer.second if second is not None}


def shapes(texts: Sequence[str]) -> list[Shape]:
    """`256x128x8` → rows, tokens, masks.

    Raises:
        ValueError: for anything else.
    """
    found = []
    for text in texts:
        parts = text.lower().replace("×", "x").split("x")
        if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ValueError(f"A shape is ROWSxTOKENSxMASKS, such as 256x128x8. Received: {text!r}.")
        found.append(Shape(*map(int, parts)))
    return found
