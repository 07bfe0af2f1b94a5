"""Whether a model of some sizes can be held at all, asked before anything is made of them."""

from __future__ import annotations

import dataclasses
import decimal
import os
from pathlib import Path

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError

_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings"),
    *("type_vocab_size", "embedding_size", "relative_buckets", "position_buckets"),
    *("max_relative_positions", "conv_kernel_size"),
)
_FLOAT = 4
_OF_A_LAYER = 1 << 14
"""What the operations of a layer take in a graph, in floats, even where its weights are another's."""


def check_memory(config: ModelConfig, keys: dict[str, str], config_file: Path) -> None:
    """Raises a `ConfigError` if the weights alone need more memory than the machine has.

    Args:
        config: the sizes.
        keys: what the file calls them, where it has other names.
        config_file: for the message.
    """
    needed, there = _FLOAT * weights(config), _memory()
    if there is None or needed <= there:
        return
    raise too_large(config, keys, config_file)


def too_large(config: ModelConfig, keys: dict[str, str], config_file: Path) -> ConfigError:
    """The error that names the size which makes a model too large."""
    usual = {name: getattr(ModelConfig, name) for name in _SIZES}

    def without(name: str) -> int:
        return weights(config, **{name: min(getattr(config, name) or 0, usual[name] or 0)})

    largest = min(_SIZES, key=without)
    there = _memory()
    others = ", ".join(
        f"{keys.get(name, name)}={getattr(config, name)}" for name in _SIZES[:5] if name != largest
    )
    return ConfigError(
        f"`{config_file}`: a model must fit into memory. Received: "
        f"{keys.get(largest, largest)}={getattr(config, largest)}, with {others}: weights of "
        f"{decimal.Decimal(_FLOAT * weights(config)) / 10**9:.3g} GB"
        f"{'' if there is None else f', and a machine of {there / 1e9:.3g} GB'}. Correct the sizes, or use a "
        "larger machine."
    )


def weights(config: ModelConfig, **changed: int) -> int:
    """About how many numbers a model consists of, with some of its sizes changed.

    Example:
        >>> weights(ModelConfig()) // 1_000_000
        109
    """
    size = {**dataclasses.asdict(dataclasses.replace(config, extra={})), **changed}
    hidden, inner, layers = size["hidden_size"], size["intermediate_size"], size["num_hidden_layers"]
    narrow = size["embedding_size"] or hidden
    rows = size["vocab_size"] + size["type_vocab_size"] + size["max_position_embeddings"]
    block = 4 * hidden * hidden + (3 if config.gated else 2) * hidden * inner + inner
    blocks = min(layers, config.num_hidden_groups or layers)
    vectors = 2 * (size["position_buckets"] or size["max_relative_positions"] or 0)
    more = hidden * narrow + (size["relative_buckets"] or 0) + vectors * hidden
    convolution = size["conv_kernel_size"] * hidden * hidden
    return rows * narrow + blocks * block + layers * _OF_A_LAYER + more + convolution


def _memory() -> int | None:
    """Bytes of memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
