"""Ids to the five likeliest tokens at each mask, BERT-base."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.contest import OURS, Contender, Outcome, compete
from benchmarks.machine import Machine
from tf_mlm.config import ModelConfig
from tf_mlm.export.processor import why_bfloat16_is_slow
from tf_mlm.export.quantization import quantize, to_bfloat16
from tf_mlm.layers.compact_weight import multiplied
from tf_mlm.layers.int8_product import is_built_with_int8_product
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.model.masked_lm import MaskedLM

FLOAT = f"{OURS} in float32"
SHAPES = ((1, 16), (1, 32), (1, 128), (8, 32), (8, 128), (32, 64))
TOP = 5
ROUNDED_TOLERANCE = 0.1
"""Between log-probabilities of which one or both come from rounded numbers."""


def shape_name(batch: int, length: int, masks: int) -> str:
    """As it stands in tables: `1×16, 1 mask`."""
    return f"{batch}×{length}, {masks} mask{'s' if masks > 1 else ''}"


def outcomes(peers: bool) -> Iterator[Outcome]:
    """One row per (batch, length), one mask in sixteen tokens, at most 20; the same in int8 and bfloat16."""
    config = ModelConfig()
    model = MaskedLM.from_config(config, seed=0)
    machine = Machine()
    program = tf.function(functools.partial(top, model), jit_compile=True, autograph=False)
    with tempfile.TemporaryDirectory() as directory:
        others = _peers(model, Path(directory)) if peers else {}
        for batch, length in SHAPES:
            arrays = batch_of(config, batch, length)
            masks = arrays[-1].shape[1]
            inputs = tuple(tf.constant(array) for array in arrays)
            contenders: dict[str, Contender] = {OURS: functools.partial(run, program, inputs)}
            contenders |= {name: fill(*arrays) for name, fill in others.items()}
            yield compete(
                f"BERT-base fill, {shape_name(batch, length, masks)}",
                contenders,
                seconds=20.0,
                tolerance=5e-3,  # of log-probabilities; KerasHub's GELU is the tanh approximation
                floor=functools.partial(
                    machine.milliseconds, flops(config, batch, length, masks), weight_bytes(config)
                ),
                settle=2,
            )
        if is_built_with_int8_product():
            peer = _int8_peer(Path(directory)) if peers else None
            yield from _rounded_outcomes("int8", quantize(model), program, peer)
        if why_bfloat16_is_slow() is None:
            yield from _rounded_outcomes("bfloat16", to_bfloat16(model), program)


def _rounded_outcomes(arithmetic: str, rounded: MaskedLM, floats: Any, peer: Any = None) -> Iterator[Outcome]:
    """Products in int8 or bfloat16 beside those of `floats`, and beside ONNX Runtime's."""

    def top_of_rounded(*inputs: tf.Tensor) -> tf.Tensor:
        with multiplied(arithmetic):
            return top(rounded, *inputs)

    program = tf.function(top_of_rounded, autograph=False)
    for batch, length in SHAPES:
        arrays = batch_of(rounded.config, batch, length)
        inputs = tuple(tf.constant(array) for array in arrays)
        contenders: dict[str, Contender] = {
            OURS: functools.partial(run, program, inputs),
            FLOAT: functools.partial(run, floats, inputs),
        }
        if peer is not None:
            contenders[f"ONNX Runtime {arithmetic}"] = peer.fill(*arrays)
        yield compete(
            f"BERT-base fill in {arithmetic}, {shape_name(batch, length, arrays[-1].shape[1])}",
            contenders,
            seconds=20.0,
            tolerance=ROUNDED_TOLERANCE,
            settle=2,
        )


def batch_of(config: ModelConfig, batch: int, length: int) -> tuple[np.ndarray, ...]:
    """Random ids, lengths, segments and mask positions, all of them real."""
    random = np.random.default_rng(0)
    masks = min(20, max(1, length // 16))
    ids = random.integers(1000, config.vocab_size, [batch, length]).astype(np.int32)
    positions = np.stack([np.sort(random.permutation(length)[:masks]) for _ in range(batch)])
    return ids, np.full([batch], length, np.int32), np.zeros_like(ids), positions.astype(np.int32)


def flops(config: ModelConfig, batch: int, length: int, masks: int) -> float:
    """Operations of the products: all of them, as a peer without our shortcuts has to do them."""
    hidden, inner = config.hidden_size, config.intermediate_size
    per_token = 4 * hidden * hidden + 2 * hidden * inner + 2 * length * hidden
    encoder = config.num_hidden_layers * batch * length * per_token
    return 2.0 * (encoder + batch * masks * hidden * (hidden + config.vocab_size))


def weight_bytes(config: ModelConfig) -> float:
    """Bytes of the float32 weights that every call has to read."""
    hidden, inner = config.hidden_size, config.intermediate_size
    block = 4 * hidden * hidden + 2 * hidden * inner
    return 4.0 * (config.num_hidden_layers * block + hidden * (hidden + config.vocab_size))


def run(program: Any, inputs: tuple[tf.Tensor, ...]) -> np.ndarray:
    """One call, its answer in NumPy's memory."""
    return program(*inputs).numpy()


def top(model: MaskedLM, *inputs: tf.Tensor) -> tf.Tensor:
    """Log-probabilities of the five likeliest tokens: the right five have the right five numbers."""
    logits = model(*inputs)
    return tf.math.top_k(logits, TOP).values - tf.reduce_logsumexp(logits, -1, keepdims=True)


def _int8_peer(directory: Path) -> Any:
    from benchmarks.onnx_runtime_peer import OnnxRuntimePeer

    return OnnxRuntimePeer(directory, top=TOP, int8=True)


def _peers(model: MaskedLM, directory: Path) -> dict[str, Any]:
    from benchmarks.hugging_face_peer import HuggingFacePeer
    from benchmarks.keras_hub_peer import KerasHubPeer
    from benchmarks.onnx_runtime_peer import OnnxRuntimePeer

    save(model, directory)
    return {
        "ONNX Runtime": OnnxRuntimePeer(directory, top=TOP).fill,
        "transformers": functools.partial(HuggingFacePeer(directory).fill, top=TOP),
        "KerasHub": functools.partial(KerasHubPeer(directory).fill, top=TOP),
        "KerasHub XLA": functools.partial(KerasHubPeer(directory, jit=True).fill, top=TOP),
    }
