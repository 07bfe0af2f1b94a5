"""A copy of a model whose matrices are int8, and what that changes about its answers."""

from __future__ import annotations

import copy as copying
import dataclasses
import platform
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from tf_mlm.layers.dense import Dense
from tf_mlm.layers.int8_product import OPERATION, is_built_with_int8_product
from tf_mlm.layers.int8_weight import Int8Weight, multiplied
from tf_mlm.model.masked_lm import MaskedLM


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Answers of the int8 model beside those of the float one, at the same masks of held-out text.

    Attributes:
        masks: how many masked tokens were compared.
        top_1_agreement: share at which both put the same token first.
        kl: mean Kullback-Leibler divergence from the float distribution to the int8 one, in nats.
        loss, float_loss: mean negative log-probability of the hidden token, int8 and float.
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
    inside = getattr(model.encoder, "submodules", ())
    if not any(isinstance(module, Dense) for module in inside):
        raise ValueError(
            "Only an encoder that is made of `tf_mlm.layers.dense.Dense` can be quantised, as BertEncoder "
            f"can. Received: encoder={type(model.encoder).__name__}. Export it without `quantize`."
        )
    # What holds the vocabulary holds tables of TensorFlow, which do not copy and do not change.
    copy = copying.deepcopy(model, {id(model.preprocessor): model.preprocessor})
    for module in copy.submodules:
        if isinstance(module, Dense):
            module.kernel = Int8Weight(module.kernel, 0, name="kernel")  # type: ignore[assignment]
    tables = {copy.head.token_embedding, getattr(copy.encoder, "token_embedding", None)}
    for table in tables:
        if table is not None:
            table.embeddings = Int8Weight(table.embeddings, 0, name="embeddings")  # type: ignore[assignment]
    if copy.head.output_kernel is not None:
        copy.head.output_kernel = Int8Weight(copy.head.output_kernel, 1, name="output_kernel")  # type: ignore[assignment]
    return copy


def is_quantized(model: MaskedLM) -> bool:
    """Whether `quantize` made it."""
    return any(isinstance(module, Int8Weight) for module in model.submodules)


def check_int8_arithmetic(model: MaskedLM) -> None:
    """Whether products in integers are to be had for a model.

    Raises:
        ValueError: for a model that is not quantised, or where TensorFlow was built without oneDNN.
    """
    if not is_quantized(model):
        raise ValueError(
            "int8 arithmetic needs int8 weights. Received: a model that is not quantised. Give what "
            "`tf_mlm.export.quantization.quantize` makes of it, or --quantize int8."
        )
    if not is_built_with_int8_product():
        raise ValueError(
            f"int8 arithmetic needs oneDNN's {OPERATION}, which TensorFlow's builds for x86 on Linux have. "
            f"Received: TensorFlow {tf.__version__} for {platform.machine()} without it. Export with "
            "arithmetic='float'."
        )


def compare(
    model: MaskedLM,
    quantized: MaskedLM,
    batches: Iterable[tuple[tf.Tensor, ...]],
    arithmetic: str = "float",
) -> Accuracy:
    """Runs both on the same masks.

    Args:
        model: the float model.
        quantized: what `quantize` made of it.
        batches: tuples of `token_ids`, `lengths`, `mask_positions`, `mask_ids` (the hidden tokens) and
            `mask_weights` (0 at unused slots), as `tf_mlm.training` prepares held-out text.
        arithmetic: `"int8"` multiplies the int8 weights in integers.

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
