"""SentencePiece's tokenizers beside `tokenizers`: ids, special tokens and offsets."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import NamedTuple

import transformers
from parity.byte_level import KNOWN
from parity.claim import Claim, Measurements, claim
from reference import byte_level, unigram
from reference.texts import documentation_lines, generated_glosses
from reference.token_rows import found, preprocessor_of, wanted
from tokenizers import Tokenizer

import tf_mlm
from tf_mlm.text.preprocessor import TextPreprocessor

BATCH = 2000


class _Texts(NamedTuple):
    """How many texts were compared, those whose tokens differ, and those of them with one sum of scores."""

    number: int
    differing: list[str]
    of_one_sum: list[str]


@functools.cache
def _both(kind: str) -> tuple[Tokenizer, TextPreprocessor]:
    """`tokenizer.json` and what it says; of DeBERTa, which is released without, what its class makes."""
    with tempfile.TemporaryDirectory(prefix="tf_mlm_parity_") as directory:
        if kind == "deberta-v2":
            unigram.write_model(Path(directory), kind)
            tokenizer = transformers.AutoTokenizer.from_pretrained(directory).backend_tokenizer
        else:
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


@functools.cache
def _compared(kind: str, quick: bool) -> _Texts:
    tokenizer, preprocessor = _both(kind)
    texts = _texts(kind, quick)
    assert quick or len(texts) >= 100_000
    differing: list[str] = []
    of_one_sum: list[str] = []
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        rows = zip(batch, found(preprocessor, batch), wanted(tokenizer, batch), strict=True)
        for text, ours, theirs in rows:
            if ours == theirs:
                continue
            is_tie = unigram.is_tie(tokenizer, *([index for index, *_ in row] for row in (ours, theirs)))
            (of_one_sum if is_tie else differing).append(text)
    return _Texts(len(texts), differing, of_one_sum)


def _tokens(kind: str) -> Claim:
    def measure(quick: bool) -> Measurements:
        compared = _compared(kind, quick)
        yield from ((ascii(text), 1.0) for text in compared.differing)
        yield from (("", 0.0) for _ in range(compared.number - len(compared.differing)))

    return claim(f"SentencePiece, {kind}: ids and offsets = tokenizers': texts that differ", 0)(measure)


xlm_roberta, older_xlm_roberta, camembert, albert, mmbert, deberta = map(_tokens, unigram.KINDS)


@claim("SentencePiece: texts cut otherwise into tokens of the same sum of scores: share", 2.5e-3)
def ties(quick: bool) -> Measurements:
    for kind in unigram.KINDS:
        number, _, cut = _compared(kind, quick)
        yield f"{kind}: {len(cut)} of {number} texts, such as {cut[:1]!a}", len(cut) / number


CLAIMS = [xlm_roberta, older_xlm_roberta, camembert, albert, mmbert, deberta, ties]
