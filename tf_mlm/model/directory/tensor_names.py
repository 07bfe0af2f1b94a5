"""Which tensors of a checkpoint are which variables of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mlm.layers.dense import Dense
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding
from tf_mlm.layers.rotary import ANGLES
from tf_mlm.model.directory.families import family_of
from tf_mlm.model.masked_lm import MaskedLM

_ROWS = {
    "embedding.token": "vocab_size",
    "embedding.position": "max_position_embeddings",
    "embedding.segment": "type_vocab_size",
    "positions.bias.table": "relative_buckets",
}


class Entry(NamedTuple):
    """A variable, and the tensors that are its parts along the first axis, in the file transposed or not.

    `rows` is the field of `ModelConfig` that says how many there are of a table.
    """

    variable: tf.Variable
    names: tuple[str, ...]
    transposed: bool = False
    rows: str | None = None

    def part_shape(self) -> tuple[int, ...]:
        """The shape of each part in the file."""
        first, *rest = self.variable.shape.as_list()
        shape = (first // len(self.names), *rest)
        return shape[::-1] if self.transposed else shape


def encoder_entries(model: MaskedLM, prefix: str | None = None) -> Iterator[Entry]:
    """What a checkpoint holds for the encoder, a `BertEncoder`; `prefix` is the family's unless given.

    What is never trained is among `frozen_entries`.
    """
    family, encoder = family_of(model.config), model.encoder
    prefix = family.prefix if prefix is None else prefix
    for path, name in family.encoder.items():
        for entry in _module_entries(_attribute(encoder, path), (prefix + name,)):
            yield entry._replace(rows=_ROWS.get(path))
    for index, block in enumerate(_attribute(encoder, "blocks")):
        start = prefix + family.block_prefix.format(index)
        for path, names in family.block.items():
            yield from _module_entries(_attribute(block, path), tuple(start + name for name in names))


def frozen_entries(model: MaskedLM, prefix: str | None = None) -> Iterator[Entry]:
    """What a checkpoint holds for the parts of the encoder that are never trained, and may lack."""
    family = family_of(model.config)
    prefix = family.prefix if prefix is None else prefix
    for path, name in family.frozen.items():
        for entry in _module_entries(_attribute(model.encoder, path), (prefix + name,)):
            is_table = path == "positions.rotary.stored" and model.config.rope_stored == ANGLES
            yield entry._replace(rows="max_position_embeddings" if is_table else None)


def head_entries(model: MaskedLM) -> Iterator[Entry]:
    """What a checkpoint holds for the head; a tied projection belongs to the encoder."""
    family = family_of(model.config)
    for path, name in family.head.items():
        yield from _module_entries(_attribute(model.head, path), (name,))
    if model.head.output_bias is not None:
        yield Entry(model.head.output_bias, (family.output_bias,))
    if model.head.output_kernel is not None:
        yield Entry(model.head.output_kernel, (family.decoder,), transposed=True)


def _module_entries(module: tf.Module | tf.Variable | None, names: tuple[str, ...]) -> Iterator[Entry]:
    if isinstance(module, tf.Variable):
        yield Entry(module, names)
    weights = tuple(f"{name}.weight" for name in names)
    biases = tuple(f"{name}.bias" for name in names)
    if isinstance(module, Dense):
        yield Entry(module.kernel, weights)
        if module.bias is not None:
            yield Entry(module.bias, biases)
    elif isinstance(module, LayerNorm):
        yield Entry(module.gamma, weights)
        if module.beta is not None:
            yield Entry(module.beta, biases)
    elif isinstance(module, ReversibleEmbedding):
        yield Entry(module.embeddings, weights)


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = None if module is None else getattr(module, name)
    return module
