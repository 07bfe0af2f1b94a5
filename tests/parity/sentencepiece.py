"""SentencePiece's tokenizers beside `tokenizers`: ids, special tokens and offsets."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from parity.byte_level import KNOWN
from parity.claim import Measurements, claim
from reference import byte_level, unigram
from reference.texts import documentation_lines, generated_glosses
from reference.token_rows import found, preprocessor_of, wanted
from tokenizers import Tokenizer

import tf_mlm
from tf_mlm.text.preprocessor import TextPreprocessor

BATCH = 2000


@functools.cache
def _both(kind: str) -> tuple[Tokenizer, TextPreprocessor]:
    with tempfile.TemporaryDirectory(prefix="tf_mlm_parity_") as directory:
        tokenizer = unigram.write_tokenizer(Path(directory), kind)
        preprocessor = preprocessor_of(Path(directory), unigram.family_of(kind), tokenizer)
    return tokenizer, tf_mlm.TextPreprocessor(preprocessor.vocabulary, max_length=None)


def _texts(kind: str, quick: bool) -> list[str]:
    mask = unigram.mask_of(kind)
    if quick:
        return documentation_lines()[:500] + byte_level.torments(mask, 500, seed=1)
    lines = documentation_lines() + generated_glosses()
    points = byte_level.code_points(0, 0x20000)
    if kind == "deberta-v2":  # with NFC, as in byte_level
        points = [text for text in points if not KNOWN.search(text)]
    return lines + points + byte_level.torments(mask, 40_000, seed=1)


@claim("SentencePiece: ids, special tokens and offsets = tokenizers', but for equal sums of scores", 0)
def sentencepiece_text(quick: bool) -> Measurements:
    for kind in unigram.KINDS:
        tokenizer, preprocessor = _both(kind)
        texts = _texts(kind, quick)
        for first in range(0, len(texts), BATCH):
            batch = texts[first : first + BATCH]
            rows = zip(batch, found(preprocessor, batch), wanted(tokenizer, batch), strict=True)
            for text, ours, theirs in rows:
                ids = ([index for index, _, _ in row] for row in (ours, theirs))
                differs = ours != theirs and not unigram.is_tie(tokenizer, *ids)
                yield f"{kind}: {text!a}", float(differs)


CLAIMS = [sentencepiece_text]
