"""What every reader of another system's checkpoint delivers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tf_mlm.config import ModelConfig, TokenizerConfig
from tf_mlm.model.directory.tensor_files import TensorSource
from tf_mlm.text.vocabulary import Vocabulary

Logits = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Token ids, lengths, segment ids and mask positions to logits, as a `MaskedLM` computes them."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint of another system, under Hugging Face's names.

    Attributes:
        kind: what it is, in words.
        config_file: where the sizes came from.
        tensors: the weights, in PyTorch's layout.
        vocabulary: None when the checkpoint has none.
        logits: runs the original model, where that is possible.
        ignored: variables that a masked language model does not need.
        notes: what the user should know about this conversion.
    """

    kind: str
    config: ModelConfig
    config_file: Path
    tensors: TensorSource
    vocabulary: Vocabulary | None
    logits: Logits | None = None
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_vocabulary(path: Path, lower_case: bool | None) -> Vocabulary:
    """A `vocab.txt`; without `lower_case`, a capital in any ordinary token says that it is cased."""
    if lower_case is None:
        plain = Vocabulary.read(path)
        special = set(plain.config.special_tokens)
        ordinary = (token for token in plain.tokens if token not in special)
        lower_case = not any(token != token.lower() for token in ordinary)
    return Vocabulary.read(path, TokenizerConfig(do_lower_case=lower_case))
