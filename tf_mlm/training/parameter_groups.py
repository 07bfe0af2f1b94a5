"""Which variables are trained, and at what share of the learning rate."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_mlm.errors import ConfigError
from tf_mlm.model.masked_lm import MaskedLM


class Parameter(NamedTuple):
    """A trained variable: its unique name, and its factor on learning rate and on weight decay.

    `is_hidden` is true of the matrices inside layers, which map hidden states to hidden states.
    """

    name: str
    variable: tf.Variable
    rate: float
    decay: float
    is_hidden: bool = False


def named_variables(module: tf.Module) -> dict[str, tf.Variable]:
    """Every variable under the path of attributes that leads to it; a shared one under the first path.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.training.parameter_groups import named_variables
        >>> module = tf.Module()
        >>> module.layers = [tf.Variable(1.0)]
        >>> list(named_variables(module))
        ['layers/0']
    """
    # The one private interface of TensorFlow here: public ones list variables without their paths.
    found = module._flatten(predicate=lambda value: isinstance(value, tf.Variable), with_path=True)
    names: dict[int, tuple[str, tf.Variable]] = {}
    for path, variable in found:
        names.setdefault(id(variable), ("/".join(str(part) for part in path), variable))
    return dict(names.values())


def parameters(model: MaskedLM, *, train: str = "all", layer_decay: float = 1.0) -> list[Parameter]:
    """The trained variables of `model`, in a fixed order.

    Args:
        model: encoder and head.
        train: `all`; `head` (all but the encoder, whose token table a tied head shares); or `last:N`
            (the head and the last N encoder layers, those that share their weights counted as one).
        layer_decay: each layer learns at this factor of the rate of the one above it (Howard and
            Ruder 2018, https://arxiv.org/abs/1801.06146); the embeddings count as the lowest layer.

    Raises:
        ConfigError: if the encoder has fewer than N layers, or none that can be told apart.

    Biases and norms, the variables with one axis, are not decayed.
    """
    depth = _heights(model, needed=train.startswith("last:") or layer_decay < 1)
    lowest = {"all": len(depth), "head": 0}.get(train)
    if lowest is None:
        lowest = int(train.removeprefix("last:"))
        if lowest > len(depth) - 1:
            raise ConfigError(
                f"`train` asks for the last {lowest} encoder layers. Received: a model with "
                f"{len(depth) - 1}. Use last:{len(depth) - 1} or all."
            )
    height_of = {id(variable): height for height, group in depth.items() for variable in group}
    chosen = []
    for name, variable in named_variables(model).items():
        height = height_of.get(id(variable), 0)
        if variable.trainable and height <= lowest:
            is_matrix = len(variable.shape) > 1
            is_hidden = len(variable.shape) == 2 and 0 < height < len(depth)
            chosen.append(Parameter(name, variable, layer_decay**height, float(is_matrix), is_hidden))
    if not chosen:
        raise ConfigError(f"Nothing is left to train. Received: train={train!r}. Choose more layers.")
    return chosen


def _heights(model: MaskedLM, *, needed: bool) -> dict[int, Sequence[tf.Variable]]:
    """Encoder variables by how far below the head they stand: from 1, the last layer, to the embeddings.

    What several layers share, such as a bias for distances, counts as the embeddings do.
    """
    encoder = model.encoder
    if not isinstance(encoder, tf.Module):
        raise ConfigError(
            "The encoder must be a tf.Module, so that its variables can be found. Received: "
            f"{type(encoder).__name__}."
        )
    blocks = list(getattr(encoder, "blocks", ()))
    if needed and not blocks:
        raise ConfigError(
            "`train=last:N` and `layer_decay` need an encoder with a list of `blocks`. "
            f"Received: {type(encoder).__name__}. Use train=all and layer_decay=1."
        )
    holders = collections.Counter(id(variable) for block in blocks for variable in block.variables)
    groups: dict[int, Sequence[tf.Variable]] = {
        height: [variable for variable in block.variables if holders[id(variable)] == 1]
        for height, block in enumerate(reversed(blocks), start=1)
    }
    in_blocks = {id(variable) for group in groups.values() for variable in group}
    groups[len(blocks) + 1] = [variable for variable in encoder.variables if id(variable) not in in_blocks]
    return groups
