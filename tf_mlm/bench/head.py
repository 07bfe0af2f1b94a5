"""The head alone: rows to logits, 768 → 30,522."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.bench.contest import OURS, Contender, Outcome, compete
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding

HIDDEN, VOCAB = 768, 30522
ROWS = (1, 2, 8, 32, 128, 640)


def outcomes(peers: bool) -> Iterator[Outcome]:
    """Our head in a plain graph and under XLA; peers in the same two ways, and torch."""
    embedding = ReversibleEmbedding(VOCAB, HIDDEN)
    head = MaskedLMHead(token_embedding=embedding, intermediate_activation="gelu", hidden_dim=HIDDEN)
    random = np.random.default_rng(0)
    rate, bandwidth = _arithmetic_rate(), _bandwidth()
    for rows in ROWS:
        inputs = tf.constant(random.normal(size=[1, rows, HIDDEN]), tf.float32)
        positions = tf.range(rows)[tf.newaxis]
        contenders: dict[str, Contender] = {}
        for suffix, jit in (("", True), (" graph", None)):
            contenders[OURS + suffix] = _graph(head, inputs, positions, jit)
        if peers:
            layer = head.to_keras()
            for suffix, jit in ((" XLA", True), (" graph", None)):
                contenders["KerasHub" + suffix] = _graph(layer, inputs, positions, jit)
            contenders["torch"] = _torch(head, inputs.numpy()[0])
        multiplications = rows * HIDDEN * (VOCAB + HIDDEN)
        floor = 1e3 * max(2 * multiplications / rate, 4 * HIDDEN * VOCAB / bandwidth)
        yield compete(f"head, {rows} rows", contenders, tolerance=2e-3, floor=floor)


def _graph(layer: Any, inputs: tf.Tensor, positions: tf.Tensor, jit: bool | None) -> Contender:
    function = tf.function(lambda x, p: layer(x, p), jit_compile=jit, autograph=False)
    return lambda: function(inputs, positions).numpy()


def _torch(head: MaskedLMHead, rows: np.ndarray) -> Contender:
    import torch

    dense, norm = head.intermediate_dense, head.intermediate_layer_norm
    assert dense is not None
    assert norm is not None
    kernel, bias = torch.tensor(dense.kernel.numpy().T.copy()), torch.tensor(dense.bias.numpy())
    gamma, beta = torch.tensor(norm.gamma.numpy()), torch.tensor(norm.beta.numpy())
    table, output_bias = torch.tensor(head.output_table.numpy()), torch.tensor(head.output_bias.numpy())
    x = torch.tensor(rows)

    def run() -> np.ndarray:
        with torch.inference_mode():
            features = torch.nn.functional.gelu(torch.nn.functional.linear(x, kernel, bias))
            features = torch.nn.functional.layer_norm(features, [HIDDEN], gamma, beta, norm.epsilon)
            return torch.nn.functional.linear(features, table, output_bias).numpy()[np.newaxis]

    return run


def _best(work: Contender, rounds: int = 5) -> float:
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _arithmetic_rate() -> float:
    """Floating-point operations per second of a large product, measured here and now."""
    x = tf.random.normal([1024, 1024])
    product = tf.function(lambda: tf.matmul(x, x), jit_compile=True)
    return 2 * 1024**3 / _best(lambda: product().numpy())


def _bandwidth() -> float:
    """Bytes per second that a sum over a large array reads, measured here and now."""
    x = tf.random.normal([64, 1 << 20])
    total = tf.function(lambda: tf.reduce_sum(x, 1), jit_compile=True)
    return 4 * 64 * (1 << 20) / _best(lambda: total().numpy())
