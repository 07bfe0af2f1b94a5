"""Ids and byte offsets of texts: those of the `tokenizers` library, and those of a preprocessor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tf_mlm.config import ModelConfig
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.text.preprocessor import TextPreprocessor

Row = list[tuple[int, int, int]]


def preprocessor_of(directory: Path, kind: str, tokenizer: Tokenizer) -> TextPreprocessor:
    sizes = ModelConfig(
        vocab_size=tokenizer.get_vocab_size(),
        model_type=kind,
        pad_token_id=1,
        max_position_embeddings=1 << 16,
    )
    preprocessor = read_preprocessor(directory, sizes)
    assert preprocessor is not None
    return preprocessor


def wanted(tokenizer: Tokenizer, texts: list[str]) -> list[Row]:
    rows = []
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        places = [0, *np.cumsum([len(character.encode()) for character in text]).tolist()]
        offsets = [(places[start], places[end]) for start, end in encoding.offsets]
        rows.append([(index, *place) for index, place in zip(encoding.ids, offsets, strict=True)])
    return rows


def found(preprocessor: TextPreprocessor, texts: list[Any]) -> list[Row]:
    batch = preprocessor(texts)
    columns = [tensor.numpy().tolist() for tensor in (batch.token_ids, batch.starts, batch.ends)]
    return [
        [tuple(column[row][place] for column in columns) for place in range(length)]
        for row, length in enumerate(batch.lengths.numpy())
    ]


def differences(
    tokenizer: Tokenizer,
    preprocessor: TextPreprocessor,
    texts: list[str],
    is_known: Callable[[Tokenizer, list[int], list[int]], bool] = lambda *_: False,
) -> list[str]:
    """Texts whose rows differ, but for pairs of ids that are known to."""
    parts = [texts[first : first + 1000] for first in range(0, len(texts), 1000)]
    return [
        f"{text!a}: {ours}, not {theirs}"
        for part in parts
        for text, ours, theirs in zip(part, found(preprocessor, part), wanted(tokenizer, part), strict=True)
        if ours != theirs
        and not is_known(tokenizer, [index for index, *_ in ours], [index for index, *_ in theirs])
    ]
