"""The head alone: rows to logits, 768 → 30,522."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.contest import OURS, Contender, Outcome, compete
from benchmarks.machine import Machine, cores
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding

HIDDEN, VOCAB = 768, 30522
ROWS = (1, 2, 8, 32, 128, 640)


def outcomes(peers: bool) -> Iterator[Outcome]:
    """Our head in a plain graph and under XLA; peers in the same two ways, and torch."""
    embedding = ReversibleEmbedding(VOCAB, HIDDEN)
    head = MaskedLMHead(token_embedding=embedding, intermediate_activation="gelu", hidden_dim=HIDDEN)
    random = np.random.default_rng(0)
    machine = Machine()
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
        weights = HIDDEN * (VOCAB + HIDDEN)
        floor = functools.partial(machine.milliseconds, 2.0 * rows * weights, 4.0 * (weights + rows * VOCAB))
        yield compete(f"head, {rows} rows", contenders, tolerance=2e-3, floor=floor, settle=2)


def _graph(layer: Any, inputs: tf.Tensor, positions: tf.Tensor, jit: bool | None) -> Contender:
    function = tf.function(lambda x, p: layer(x, p), jit_compile=jit, autograph=False)
    return lambda: function(inputs, positions).numpy()


def _torch(head: MaskedLMHead, rows: np.ndarray) -> Contender:
    import torch

    torch.set_num_threads(cores())
    dense, norm = head.intermediate_dense, head.intermediate_layer_norm
    assert dense is not None
    assert dense.bias is not None
    assert norm is not None
    assert norm.beta is not None
    kernel, bias = torch.tensor(dense.kernel.numpy()), torch.tensor(dense.bias.numpy())
    gamma, beta = torch.tensor(norm.gamma.numpy()), torch.tensor(norm.beta.numpy())
    table, output_bias = torch.tensor(head.output_table.numpy()), torch.tensor(head.bias_of_scores.numpy())
    x = torch.tensor(rows)

    def run() -> np.ndarray:
        with torch.inference_mode():
            features = torch.nn.functional.gelu(torch.nn.functional.linear(x, kernel, bias))
            features = torch.nn.functional.layer_norm(features, [HIDDEN], gamma, beta, norm.epsilon)
            return torch.nn.functional.linear(features, table, output_bias).numpy()[np.newaxis]

    return run
