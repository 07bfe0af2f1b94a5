"""Lines of text to token ids and no more; `--cores 1` gives everybody one core."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.contest import OURS, Contender, Outcome, compete
from benchmarks.text_lines import documentation_lines
from tf_mlm.config.architectures import ARCHITECTURES
from tf_mlm.text.tokenizer import tokenizer_of
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.vocabulary_training import learn_vocabulary

LINES = 16_384
LEARNT_FROM = 20_000
SIZE = 16_000
BATCHES = (1, 256, 1024)
KINDS = {"byte-level BPE": "roberta", "Unigram": "albert"}


def outcomes(peers: bool) -> Iterator[Outcome]:
    """A row per kind and batch: the same lines in the same batches, the same ids."""
    lines = [line for line in documentation_lines(LINES + LEARNT_FROM) if line.isascii()]
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if len(os.sched_getaffinity(0)) == 1 else "true"
    learnt = {
        name: learn_vocabulary(lines[:LEARNT_FROM], SIZE, ARCHITECTURES[name].tokenizer)
        for name in ("bert", *KINDS.values())
    }
    for kind, name in KINDS.items():
        for batch in BATCHES:
            count = 256 if batch == 1 else LINES
            asked = lines[-count:]
            contenders = {OURS: _in_graph(learnt[name], asked, batch)}
            if peers:
                contenders["tokenizers"] = _library(learnt[name], asked, batch)
                if kind == "byte-level BPE" and batch > 1:
                    contenders["KerasHub"] = _keras_hub(learnt[name], asked, batch)
            work = f"{len(asked):,} lines to ids, {kind}, {batch} at a time"
            tolerance = 0.0 if kind == "byte-level BPE" else None  # Unigram cuts of one score are ties
            yield compete(work, contenders, rounds=5, seconds=120.0, tolerance=tolerance, items=len(asked))
    asked = lines[-256:]
    contenders = {
        OURS: _in_graph(learnt["roberta"], asked, 1),
        "WordPiece": _in_graph(learnt["bert"], asked, 1),
    }
    work = f"{len(asked)} lines, one at a time: byte-level BPE beside WordPiece here"
    yield compete(work, contenders, rounds=9, tolerance=None, items=len(asked))


def _batches(lines: list[str], batch: int) -> list[list[str]]:
    return [lines[first : first + batch] for first in range(0, len(lines), batch)]


def _in_graph(vocabulary: Vocabulary, lines: list[str], batch: int) -> Contender:
    tokenizer = tokenizer_of(vocabulary)
    call = tf.function(lambda text: tokenizer(text).token_ids).get_concrete_function(
        tf.TensorSpec([None], tf.string)
    )
    batches = [tf.constant(part) for part in _batches(lines, batch)]
    return lambda: np.concatenate([call(part).numpy() for part in batches])


def _library(vocabulary: Vocabulary, lines: list[str], batch: int) -> Contender:
    tokenizer = _library_tokenizer(vocabulary)
    batches = _batches(lines, batch)

    def run() -> np.ndarray:
        found = [tokenizer.encode_batch(part, add_special_tokens=False) for part in batches]
        return np.concatenate([each.ids for part in found for each in part if each.ids])

    return run


@functools.cache
def _library_tokenizer(vocabulary: Vocabulary) -> Any:
    from tokenizers import Tokenizer

    from tf_mlm.model.directory.write_tokenizer import write_vocabulary

    with tempfile.TemporaryDirectory() as directory:
        write_vocabulary(vocabulary, Path(directory))
        return Tokenizer.from_file(f"{directory}/tokenizer.json")


def _keras_hub(vocabulary: Vocabulary, lines: list[str], batch: int) -> Contender:
    tokenizer = keras_hub_tokenizer(vocabulary)
    call = tf.function(lambda text: tokenizer(text).flat_values)
    batches = [tf.constant(part) for part in _batches(lines, batch)]
    return lambda: np.concatenate([call(part).numpy() for part in batches])


def keras_hub_tokenizer(vocabulary: Vocabulary) -> Any:
    """KerasHub's tokenizer of RoBERTa with the same merges."""
    import keras_hub

    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    merges = [f"{left} {right}" for left, right in vocabulary.merges]
    return keras_hub.models.RobertaTokenizer(vocabulary=ids, merges=merges)
