"""Weights of transformers' TensorFlow models, under the names that its PyTorch models give them.

transformers 4 wrote them as `tf_model.h5` or, with Keras' names still, as safetensors of format "tf".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

# What Keras calls the last part of a name. A kernel is PyTorch's weight transposed.
_LAST = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}

# TFAlbertForMaskedLM has two biases of its logits and adds the first of these; PyTorch's are one.
_ADDED, _NOT_ADDED = "predictions.decoder.bias", "predictions.bias"


class KerasName(NamedTuple):
    """The PyTorch name of one of Keras' variables, and whether its two axes change places."""

    name: str
    transposed: bool


def pytorch_name(keras_name: str) -> KerasName:
    """Says what PyTorch's model calls a variable of transformers' TensorFlow model.

    Args:
        keras_name: below the name of the model, such as `bert/encoder/layer_._0/output/dense/kernel:0`.

    Example:
        >>> pytorch_name("mlm___cls/predictions/transform/dense/kernel:0")
        KerasName(name='cls.predictions.transform.dense.weight', transposed=True)
        >>> pytorch_name("bert/encoder/layer_._0/output/LayerNorm/gamma:0").name
        'bert.encoder.layer.0.output.LayerNorm.weight'
    """
    # `mlm___cls` is the module `cls`, named so that its variables do not meet those of the encoder;
    # `layer_._0` is entry 0 of the list `layer`.
    plain = re.sub(r"[^/]*___", "", keras_name.split(":")[0]).replace("_._", "/")
    *modules, last = [part for part in plain.split("/") if part]
    return KerasName(".".join([*modules, _LAST.get(last, last)]), last == "kernel")


def unread(names: Collection[str]) -> tuple[str, ...]:
    """Those of a file's PyTorch names that TensorFlow's model has and does not compute with.

    Example:
        >>> unread(["predictions.bias", "predictions.decoder.bias"])
        ('predictions.bias',)
    """
    return (_NOT_ADDED,) if {_ADDED, _NOT_ADDED} <= set(names) else ()


def variables(file: Any) -> Iterator[tuple[str, Any]]:
    """The variables in an open `tf_model.h5` as Keras names them below the model, with their data sets.

    Raises:
        KeyError: when a variable that is listed is not there.
    """
    for layer in _names(file, "layer_names"):
        group = file[layer]
        weights = _names(group, "weight_names")
        if not weights and hasattr(group, "shape"):  # a shard, which lists the variables themselves
            yield layer, group
        for name in weights:
            yield name.partition("/")[2], group[name]


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names, which Keras cuts in pieces, `weight_names0` and on, where it is longer than 64 kB."""
    pieces = [attribute] if attribute in group.attrs else [f"{attribute}{index}" for index in range(1024)]
    names = [name for piece in pieces if piece in group.attrs for name in group.attrs[piece]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
