"""BERT in NumPy and float64, written to be obviously right: loops over texts and heads, real tokens only.

Where the TensorFlow code masks padding, this one never sees it. Weights come as the tensors of a Hugging
Face `BertForMaskedLM` state dict, so it shares no parameter layout with the package either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]

_erf = np.vectorize(math.erf, otypes=[np.float64])

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "linear": lambda x: x,
}


def layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float) -> np.ndarray:
    """Each row minus its mean, divided by its standard deviation: [rows, dim] → [rows, dim]."""
    rows = [(row - row.mean()) / math.sqrt(row.var() + epsilon) for row in x]
    return np.stack(rows) * gamma + beta


def softmax(x: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def dense(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """PyTorch's linear layer: [rows, in] → [rows, out]."""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(x: np.ndarray, weights: Weights, name: str, epsilon: float) -> np.ndarray:
    return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)


def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int) -> np.ndarray:
    """Multi-head attention of one text over its own tokens: [length, hidden] each → [length, hidden]."""
    outputs = []
    for q, k, v in zip(*(np.split(x, heads, axis=-1) for x in (query, key, value)), strict=True):
        outputs.append(softmax(q @ k.T / math.sqrt(q.shape[-1])) @ v)
    return np.concatenate(outputs, axis=-1)


def embed(token_ids: np.ndarray, segment_ids: np.ndarray, weights: Weights, epsilon: float) -> np.ndarray:
    """The normalised sum of three embeddings of one text: [length] → [length, hidden]."""
    table = "bert.embeddings.{}_embeddings.weight"
    total = (
        weights[table.format("word")][token_ids]
        + weights[table.format("position")][np.arange(len(token_ids))]
        + weights[table.format("token_type")][segment_ids]
    )
    return norm(total, weights, "bert.embeddings.LayerNorm", epsilon)


def block(
    x: np.ndarray, weights: Weights, index: int, heads: int, activation: str, epsilon: float
) -> np.ndarray:
    """One post-norm transformer block: [length, hidden] → [length, hidden]."""
    name = f"bert.encoder.layer.{index}"
    query, key, value = (
        dense(x, weights, f"{name}.attention.self.{part}") for part in ("query", "key", "value")
    )
    attended = dense(attention(query, key, value, heads), weights, f"{name}.attention.output.dense")
    x = norm(x + attended, weights, f"{name}.attention.output.LayerNorm", epsilon)
    inner = ACTIVATIONS[activation](dense(x, weights, f"{name}.intermediate.dense"))
    return norm(
        x + dense(inner, weights, f"{name}.output.dense"), weights, f"{name}.output.LayerNorm", epsilon
    )


def head(rows: np.ndarray, weights: Weights, activation: str, epsilon: float) -> np.ndarray:
    """Hidden states to logits with the tied table: [masks, hidden] → [masks, vocab]."""
    name = "cls.predictions.transform"
    features = ACTIVATIONS[activation](dense(rows, weights, f"{name}.dense"))
    features = norm(features, weights, f"{name}.LayerNorm", epsilon)
    return features @ weights["bert.embeddings.word_embeddings.weight"].T + weights["cls.predictions.bias"]


def encode(
    token_ids: np.ndarray,
    lengths: np.ndarray,
    segment_ids: np.ndarray,
    weights: Weights,
    *,
    layers: int,
    heads: int,
    activation: str,
    epsilon: float,
) -> list[np.ndarray]:
    """The hidden states of each text at its real tokens: a list of [length of the text, hidden]."""
    weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    states = []
    for ids, length, segments in zip(token_ids, lengths, segment_ids, strict=True):
        x = embed(ids[:length], segments[:length], weights, epsilon)
        for index in range(layers):
            x = block(x, weights, index, heads, activation, epsilon)
        states.append(x)
    return states
