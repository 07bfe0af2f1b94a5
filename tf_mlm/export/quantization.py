"""A copy of a model whose matrices are int8 or bfloat16, and what that changes about its answers."""

from __future__ import annotations

import copy as copying
import dataclasses
import platform
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.errors import SlowProcessorWarning
from tf_mlm.export.processor import why_bfloat16_is_slow
from tf_mlm.layers.bfloat16_weight import Bfloat16Weight
from tf_mlm.layers.compact_weight import CompactWeight, multiplied
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.int8_product import OPERATION, is_built_with_int8_product
from tf_mlm.layers.int8_weight import Int8Weight
from tf_mlm.model.masked_lm import MaskedLM


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Answers of the rounded model beside those of the float one, at the same masks of held-out text.

    Attributes:
        masks: how many masked tokens were compared.
        top_1_agreement: share at which both put the same token first.
        kl: mean Kullback-Leibler divergence from the float distribution to the rounded one, in nats.
        loss, float_loss: mean negative log-probability of the hidden token, rounded and float.
        top_1, float_top_1: share at which the hidden token comes first.
    """

    masks: int
    top_1_agreement: float
    kl: float
    loss: float
    float_loss: float
    top_1: float
    float_top_1: float


def quantize(model: MaskedLM) -> MaskedLM:
    """A copy with int8 dense kernels and token table; norms, biases and positions stay floats.

    Each output channel has its own scale: a row of a kernel, and one of the token table, which is a
    token's vector on its way in and its output channel on its way out, so that one table still does both.

    Raises:
        ValueError: for an encoder without `tf_mlm.layers.dense.Dense`, of which no matrix is known here.

    Example:
        >>> quantized = quantize(model)
        >>> quantized.head.token_embedding.embeddings.values.dtype
        tf.int8
    """
    return _rounded(model, Int8Weight)


def to_bfloat16(model: MaskedLM) -> MaskedLM:
    """A copy with the same matrices as bfloat16, in half of the bytes.

    Raises:
        ValueError: as `quantize`.

    Example:
        >>> to_bfloat16(model).head.token_embedding.embeddings.values.dtype
        tf.bfloat16
    """
    return _rounded(model, Bfloat16Weight)


def _rounded(model: MaskedLM, kind: Callable[..., CompactWeight]) -> MaskedLM:
    inside = getattr(model.encoder, "submodules", ())
    if not any(isinstance(module, Dense) for module in inside):
        raise ValueError(
            "Only an encoder that is made of `tf_mlm.layers.dense.Dense` can be stored as int8 or bfloat16, "
            f"as BertEncoder can. Received: encoder={type(model.encoder).__name__}. Export it as it is."
        )
    # What holds the vocabulary holds tables of TensorFlow, which do not copy and do not change.
    copy: Any = copying.deepcopy(model, {id(model.preprocessor): model.preprocessor})
    for module in copy.submodules:
        if isinstance(module, Dense):
            module.kernel = kind(module.kernel, 0, name="kernel")
    tables = {copy.head.token_embedding, getattr(copy.encoder, "token_embedding", None)}
    for table in tables:
        if table is not None:
            table.embeddings = kind(table.embeddings, 0, name="embeddings")
    if copy.head.output_kernel is not None:
        copy.head.output_kernel = kind(copy.head.output_kernel, 1, name="output_kernel")
    return copy


def stored_as(model: MaskedLM) -> str | None:
    """What `quantize` or `to_bfloat16` made of its matrices: `"int8"`, `"bfloat16"`, or None."""
    weights = (module for module in model.submodules if isinstance(module, CompactWeight))
    return next((weight.arithmetic for weight in weights), None)


_MADE_BY = {"int8": ("quantize", "--quantize int8"), "bfloat16": ("to_bfloat16", "--dtype bfloat16")}


def check_arithmetic(model: MaskedLM, arithmetic: str) -> None:
    """Whether the products that are asked for are to be had for a model.

    Raises:
        ValueError: for int8 or bfloat16 of a model whose weights are not stored so, and for int8 where
            TensorFlow was built without oneDNN.
    """
    if arithmetic not in _MADE_BY:
        return
    function, option = _MADE_BY[arithmetic]
    if stored_as(model) != arithmetic:
        raise ValueError(
            f"{arithmetic} arithmetic needs {arithmetic} weights. Received: a model without. Give what "
            f"`tf_mlm.export.quantization.{function}` makes of it, or {option}."
        )
    if arithmetic == "int8" and not is_built_with_int8_product():
        raise ValueError(
            f"int8 arithmetic needs oneDNN's {OPERATION}, which TensorFlow's builds for x86 on Linux have. "
            f"Received: TensorFlow {tf.__version__} for {platform.machine()} without it. Export with "
            "arithmetic='float'."
        )
    if arithmetic == "bfloat16" and (message := why_bfloat16_is_slow()):
        warnings.warn(message, SlowProcessorWarning, stacklevel=3)


def compare(
    model: MaskedLM,
    quantized: MaskedLM,
    batches: Iterable[tuple[tf.Tensor, ...]],
    arithmetic: str = "float",
) -> Accuracy:
    """Runs both on the same masks.

    Args:
        model: the float model.
        quantized: what `quantize` or `to_bfloat16` made of it.
        batches: tuples of `token_ids`, `lengths`, `mask_positions`, `mask_ids` (the hidden tokens) and
            `mask_weights` (0 at unused slots), as `tf_mlm.training` prepares held-out text.
        arithmetic: `"int8"` or `"bfloat16"` multiplies weights that are stored so as they are.

    Raises:
        ValueError: if nothing is hidden.
    """

    def distribution(one: MaskedLM) -> Callable[..., tf.Tensor]:
        def log_probabilities(ids: tf.Tensor, lengths: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
            with multiplied(arithmetic):
                return tf.nn.log_softmax(one(ids, lengths, None, positions))

        return tf.function(log_probabilities, autograph=False)

    exact, rounded = distribution(model), distribution(quantized)
    sums = np.zeros(7)
    for ids, lengths, positions, mask_ids, weights, *_ in batches:
        inputs = (ids, lengths, positions)
        real = weights.numpy() > 0
        one, other = exact(*inputs).numpy()[real], rounded(*inputs).numpy()[real]
        hidden = mask_ids.numpy()[real][:, np.newaxis]
        first, other_first = one.argmax(-1), other.argmax(-1)
        sums += [
            len(one),
            (first == other_first).sum(),
            (np.exp(one) * (one - other)).sum(),
            -np.take_along_axis(other, hidden, -1).sum(),
            -np.take_along_axis(one, hidden, -1).sum(),
            (other_first == hidden[:, 0]).sum(),
            (first == hidden[:, 0]).sum(),
        ]
    if not sums[0]:
        raise ValueError(
            "A comparison needs hidden tokens to guess. Received: rows without one: none of their tokens "
            "could be masked. Give other text."
        )
    means = sums[1:] / sums[0]
    return Accuracy(int(sums[0]), *(float(mean) for mean in means))
