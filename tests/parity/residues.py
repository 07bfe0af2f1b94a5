"""ESM's residues beside `EsmTokenizer`: ids, and that each token stands where it is spelt."""

from __future__ import annotations

import tempfile
from pathlib import Path

import transformers
from parity.claim import Measurements, claim
from reference import byte_level, small_tokenizers
from reference.texts import documentation_lines, generated_glosses
from reference.token_rows import Row, found

import tf_mlm
from tf_mlm.config import ModelConfig
from tf_mlm.model.directory.read_tokenizer import read_preprocessor

BATCH = 2000


def _texts(quick: bool) -> list[str]:
    if quick:
        return documentation_lines()[:500] + small_tokenizers.residues(500, seed=1)
    lines = documentation_lines() + generated_glosses()
    return lines + byte_level.code_points(0, 0x20000) + small_tokenizers.residues(40_000, seed=1)


@claim("Residues: ids and special tokens = EsmTokenizer's, offsets as spelt: texts that differ", 0)
def residues(quick: bool) -> Measurements:
    with tempfile.TemporaryDirectory(prefix="tf_mlm_parity_") as directory:
        size = small_tokenizers.write_tokenizer(Path(directory), "esm")
        theirs = transformers.AutoTokenizer.from_pretrained(directory)
        preprocessor = read_preprocessor(Path(directory), ModelConfig(model_type="esm", vocab_size=size))
    assert preprocessor is not None
    ours = tf_mlm.TextPreprocessor(preprocessor.vocabulary, max_length=None)
    texts = _texts(quick)
    assert quick or len(texts) >= 100_000
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        rows = zip(batch, found(ours, batch), theirs(batch)["input_ids"], strict=True)
        for text, row, wanted in rows:
            differs = [index for index, *_ in row] != wanted or not _stands_where_spelt(text, row)
            yield f"{text!a}", float(differs)


def _stands_where_spelt(text: str, row: Row) -> bool:
    """Whether the bytes of each known token are its spelling, and those of none are white space.

    The class has no offsets that these could be compared with.
    """
    data, end = text.encode(), 0
    unknown = small_tokenizers.RESIDUES.index("<unk>")
    for index, start, stop in row[1:-1]:
        token = data[start:stop].decode()
        fits = len(token.split()) == 1 if index == unknown else token == small_tokenizers.RESIDUES[index]
        if not fits or data[end:start].decode().strip():
            return False
        end = stop
    return not data[end:].decode().strip()


CLAIMS = [residues]
