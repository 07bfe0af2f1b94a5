"""What a family of models is: its settings and its tensors as Hugging Face calls them.

A family is data: which key of `config.json` holds which field of `ModelConfig`, and which module of
the PyTorch model holds which of ours. Everything that reads or writes a checkpoint is derived from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tf_mlm.config import SWITCHES, ModelConfig


def _as_it_is(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return values


@dataclasses.dataclass(frozen=True)
class Family:
    """One `model_type`: modules of ours on the left, names in the PyTorch model on the right.

    `prefix` stands before every encoder tensor of a model with a head, and is absent from a bare encoder.
    `head` names do not get it. `copies` are tensors that a tied model shares with another one. `frozen` are
    parts of the encoder that are never trained: a file may lack them. `older` are patterns of names that
    tensors once had, `unused` beginnings of names that a model has no use for. `keys` are the names in its
    `config.json`, where they differ, and `read` and `write` convert what has another form; `said` is what
    messages call that. `inputs` are what the PyTorch model takes, where it does not take all that a tokenizer
    makes.
    """

    architecture: str
    prefix: str
    encoder: Mapping[str, str]
    block: Mapping[str, tuple[str, ...]]
    block_prefix: str
    head: Mapping[str, str]
    decoder: str
    output_bias: str
    copies: Mapping[str, str]
    frozen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    older: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    said: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _as_it_is
    write: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _as_it_is


def fixed(*free: str, **values: Any) -> dict[str, Any]:
    """What `config.json` cannot say in a family: all switches but those that it can, BERT's unless given.

    Example:
        >>> fixed("embedding_size", gated=True)["gated"]
        True
    """
    defaults = {field.name: field.default for field in dataclasses.fields(ModelConfig)}
    switches = {name: defaults[name] for name in SWITCHES if name not in free}
    return {**switches, **values}
