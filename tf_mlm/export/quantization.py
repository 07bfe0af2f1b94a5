"""A copy of a model whose matrices are int8 or bfloat16."""

from __future__ import annotations

import copy as copying
import platform
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from tf_mlm.errors import SlowProcessorWarning
from tf_mlm.export.int8_fitting import fit
from tf_mlm.export.processor import why_bfloat16_is_slow
from tf_mlm.layers.bfloat16_weight import Bfloat16Weight
from tf_mlm.layers.compact_weight import CompactWeight
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.int8_product import OPERATION, is_built_with_int8_product
from tf_mlm.layers.int8_weight import Int8Weight
from tf_mlm.layers.onednn import SCORES
from tf_mlm.model.masked_lm import MaskedLM


def quantize(model: MaskedLM, batches: Iterable[tuple[tf.Tensor, ...]] | None = None) -> MaskedLM:
    """A copy with int8 dense kernels and token table; norms, biases and positions stay floats.

    Each output channel has its own scale: a row of a kernel, and one of the token table, which is a
    token's vector on its way in and its output channel on its way out, so that one table still does both.

    Args:
        model: of floats.
        batches: masked text like that which will come, as `tf_mlm.export.accuracy.compare` takes it: the
            dense kernels are fitted to it (`tf_mlm.export.int8_fitting`). About half of the error goes.

    Raises:
        ValueError: for an encoder without `tf_mlm.layers.dense.Dense`, of which no matrix is known here.

    Example:
        >>> quantized = quantize(model)
        >>> quantized.head.token_embedding.embeddings.values.dtype
        tf.int8
    """
    copy = _copied(model)
    fitted = {} if batches is None else fit(copy, batches)
    of_head = {copy.head, *copy.head.submodules}

    def stored(weight: Any, axis: int, name: str, owner: tf.Module) -> Int8Weight:
        # The head has a row for each mask, not for each token: there the second step costs next to nothing.
        twice = owner in of_head
        return Int8Weight(weight, axis, rounding=fitted.get(owner), rounds_twice=twice, name=name)

    return _stored(copy, stored)


def to_bfloat16(model: MaskedLM) -> MaskedLM:
    """A copy with the same matrices as bfloat16, in half of the bytes.

    Raises:
        ValueError: as `quantize`.

    Example:
        >>> to_bfloat16(model).head.token_embedding.embeddings.values.dtype
        tf.bfloat16
    """
    return _stored(_copied(model), lambda weight, axis, name, _: Bfloat16Weight(weight, axis, name=name))


def _copied(model: MaskedLM) -> MaskedLM:
    inside = getattr(model.encoder, "submodules", ())
    if not any(isinstance(module, Dense) for module in inside):
        raise ValueError(
            "Only an encoder that is made of `tf_mlm.layers.dense.Dense` can be stored as int8 or bfloat16, "
            f"as BertEncoder can. Received: encoder={type(model.encoder).__name__}. Export it as it is."
        )
    # What holds the vocabulary holds tables of TensorFlow, which do not copy and do not change.
    return copying.deepcopy(model, {id(model.preprocessor): model.preprocessor})


def _stored(copy: Any, stored: Callable[[Any, int, str, tf.Module], CompactWeight]) -> MaskedLM:
    """The same model with its matrices replaced: of each the floats, its outputs' axis, name and module."""
    for module in copy.submodules:
        if isinstance(module, Dense):
            module.kernel = stored(module.kernel, 0, "kernel", module)
    tables = {copy.head.token_embedding, getattr(copy.encoder, "token_embedding", None)}
    for table in tables:
        if table is not None:
            table.embeddings = stored(table.embeddings, 0, "embeddings", table)
    if copy.head.output_kernel is not None:
        copy.head.output_kernel = stored(copy.head.output_kernel, 1, "output_kernel", copy.head)
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
            f"int8 arithmetic needs oneDNN's {OPERATION} and {SCORES}, which TensorFlow's builds for x86 on "
            f"Linux have. Received: TensorFlow {tf.__version__} for {platform.machine()} without. Export "
            "with arithmetic='float'."
        )
    if arithmetic == "bfloat16" and (message := why_bfloat16_is_slow()):
        warnings.warn(message, SlowProcessorWarning, stacklevel=3)
