"""Int8 kernels fitted to text: outliers are smoothed, and weights make up for each other's rounding.

Rounding a row takes its largest value for the scale, and where one input is much larger than the others,
little is left for those. Such inputs can be made smaller and their weights larger by the same factor, with
the same product (Xiao et al., https://arxiv.org/abs/2211.10438). It costs nothing where what makes the
inputs can take the factor: a norm that only this product reads, as in a pre-norm block, and the gates of a
gated feed-forward.

Weights are rounded one input after the other, and what one is off by is taken from those that are still
floats, as the inputs go together: the products of the text stay as near as can be (Frantar et al.,
https://arxiv.org/abs/2210.17323).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.layers.compact_weight import CompactWeight, multiplied
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.encoder_block import EncoderBlock
from tf_mlm.layers.int8_product import LEVELS
from tf_mlm.layers.int8_weight import Rounding, rounded
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.self_attention import SelfAttention
from tf_mlm.model.masked_lm import MaskedLM

DAMPING = 0.01
"""Of the inputs' mean square, added to each: inputs that the text hardly has do not go to extremes."""
BLOCK = 128
"""Inputs whose errors are handed on at once to all behind them."""


def fit(model: MaskedLM, batches: Iterable[tuple[tf.Tensor, ...]]) -> dict[Dense, Rounding]:
    """Smooths the model, which answers the same afterwards, and says how each dense kernel is rounded.

    Of every layer it holds a float32 matrix [inputs, inputs]: 0.6 GB for BERT-base.

    Args:
        model: of floats; changed in place.
        batches: tuples that begin with `token_ids`, `lengths` and `mask_positions`.

    Returns:
        What `Int8Weight` takes as `rounding`; layers that the text did not run through are left out.

    Example:
        >>> rounding = fit(model, batches)
        >>> dense = model.encoder.blocks[0].output
        >>> values, scale = rounding[dense](dense.kernel.numpy(), 0)
        >>> values.dtype
        dtype('int8')
    """
    seen = _inputs(model, batches)
    for block in model.submodules:
        if isinstance(block, EncoderBlock):
            _smooth(block, seen)
    return {dense: functools.partial(compensated, gram=inputs.gram) for dense, inputs in seen.items()}


class _Inputs(CompactWeight):
    """Stands for a kernel while text runs through it, and keeps what the inputs were like."""

    arithmetic = "seen"

    def __init__(self, kernel: tf.Variable) -> None:
        super().__init__(name="inputs")
        self.kernel, self.shape, self.dtype, self.channel_axis = kernel, kernel.shape, kernel.dtype, 0
        self.gram = np.zeros([kernel.shape[1]] * 2, np.float32)

    def read(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.kernel)

    def times(self, rows: tf.Tensor) -> tf.Tensor:
        self.gram += tf.matmul(rows, rows, transpose_a=True).numpy()
        return tf.matmul(rows, tf.cast(self.kernel, rows.dtype), transpose_b=True)

    def divide(self, factors: np.ndarray) -> None:
        """The inputs become so much smaller, their weights larger."""
        self.kernel.assign(self.kernel * factors.astype(np.float32))
        self.gram /= np.outer(factors, factors)


def _inputs(model: MaskedLM, batches: Iterable[tuple[tf.Tensor, ...]]) -> dict[Dense, _Inputs]:
    layers = [module for module in model.submodules if isinstance(module, Dense)]
    seen: dict[Any, _Inputs] = {dense: _Inputs(dense.kernel) for dense in layers}
    for dense, inputs in seen.items():
        dense.kernel = inputs
    try:
        for ids, lengths, positions, *_ in batches:
            with multiplied(_Inputs.arithmetic):
                model(ids, lengths, None, positions)
    finally:
        for dense, inputs in seen.items():
            dense.kernel = inputs.kernel
    return {dense: inputs for dense, inputs in seen.items() if inputs.gram.any()}


def _smooth(block: EncoderBlock, seen: dict[Dense, _Inputs]) -> None:
    """Makes the inputs of the block's products more even, where what makes them can be changed."""
    attention = block.attention
    reads_norm: list[tuple[LayerNorm | None, Dense]] = []
    if block.is_pre_norm:
        reads_norm.append((block.output_norm, block.intermediate))
        # A bias of distances runs other inputs through the same kernel.
        if isinstance(attention, SelfAttention) and attention.bias is None:
            reads_norm.append((block.attention_norm, attention.query_key_value))
    for norm, dense in reads_norm:
        if norm is not None and dense in seen:
            factors = _divide(seen[dense])
            for variable in (norm.gamma, norm.beta):
                if variable is not None:
                    variable.assign(variable / factors)
    if block.is_gated and block.output in seen:
        factors = _divide(seen[block.output])
        made_by = block.intermediate
        gates = np.concatenate([np.ones_like(factors), factors])
        made_by.kernel.assign(made_by.kernel / gates[:, np.newaxis])
        if made_by.bias is not None:
            made_by.bias.assign(made_by.bias / gates)


def _divide(inputs: _Inputs) -> np.ndarray:
    """Divides by the root of each input's size, so that half of the difference goes to the weights."""
    sizes = np.sqrt(np.diag(inputs.gram))
    sizes = np.maximum(sizes, sizes.mean() / 100)  # other text may have what this hardly has
    factors = np.sqrt(sizes / np.exp(np.log(sizes).mean())).astype(np.float32)
    inputs.divide(factors)
    return factors


def compensated(weight: np.ndarray, channel_axis: int, *, gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Int8 values and scales, each input's rounding made up for by the inputs behind it.

    Args:
        weight: float32 [outputs, inputs].
        channel_axis: 0.
        gram: float [inputs, inputs], the sum over rows x of `x.T @ x`.

    Example:
        >>> values, scale = compensated(np.array([[1.0, 0.3, 0.3]]), 0, gram=np.ones([3, 3]))
        >>> values.tolist(), round(float((values * scale).sum()), 3)
        ([[127, 38, 38]], 1.598)
    """
    _, scale = rounded(weight, channel_axis)
    damped = gram.astype(np.float64) + np.eye(len(gram)) * DAMPING * np.trace(gram) / len(gram)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left = weight.astype(np.float64)
    values = np.zeros(weight.shape, np.int8)
    for start in range(0, len(gram), BLOCK):
        end = min(start + BLOCK, len(gram))
        errors = np.zeros([len(weight), end - start])
        for column in range(start, end):
            level = np.clip(np.rint(left[:, column] / scale[:, 0]), -LEVELS, LEVELS)
            values[:, column] = level
            error = (left[:, column] - level * scale[:, 0]) / upper[column, column]
            left[:, column:end] -= np.outer(error, upper[column, column:end])
            errors[:, column - start] = error
        left[:, end:] -= errors @ upper[start:end, end:]
    return values, scale
