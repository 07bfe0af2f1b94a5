"""Byte-level BPE beside `tokenizers` and transformers: ids and offsets, and the fills of whole models."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from parity.claim import Measurements, claim
from parity.hugging_face import SIZES
from reference import byte_level
from reference.texts import documentation_lines, generated_glosses

import tf_mlm

BATCH = 2000
# With NFC these differ where another mark follows, as docs/tokenizer.md says: three marks that are newer than
# the library's Unicode, and Tibetan vowel signs that NFC takes apart.
KNOWN = re.compile("[\u0f73\u0f75\u0f81\u1df6\U0001e4ec\U0001e4ed]")
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("roberta", {}),
    "roberta, add_prefix_space": ("roberta", {"add_prefix_space": True}),
    "modernbert": ("modernbert", {}),
}


def _model_of(kind: str, vocabulary: int, tokenizer: Any) -> Any:
    """A transformers model of the family with random weights."""
    names = ("pad", "bos", "eos", "cls", "sep")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in names}
    sizes = {**SIZES[kind], "vocab_size": vocabulary, "max_position_embeddings": 80}
    config = transformers.AutoConfig.for_model(
        kind, **{**sizes, **{name: index for name, index in ids.items() if index is not None}}
    )
    model = transformers.AutoModelForMaskedLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm.weight" in name.lower() else 0.0, 0.25, generator=generator)
        if kind == "roberta":
            model.lm_head.decoder.bias.copy_(model.lm_head.bias)
    return model


@functools.cache
def _directory(name: str) -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """A whole model directory of a kind; the first of the two keeps it."""
    kind, settings = KINDS[name]
    keeper = tempfile.TemporaryDirectory(prefix="tf_mlm_parity_")
    path = Path(keeper.name)
    size = byte_level.write_tokenizer(path, kind, **settings).get_vocab_size()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    _model_of(kind, size, tokenizer).save_pretrained(path)
    return keeper, path


def _texts(name: str, quick: bool) -> list[str]:
    mask = byte_level.mask_of(KINDS[name][0])
    if quick:
        return documentation_lines()[:500] + byte_level.torments(mask, 500, seed=1)
    lines = documentation_lines() + generated_glosses()
    points = byte_level.code_points(0, 0x20000)
    if KINDS[name][0] == "modernbert":
        points = [text for text in points if not KNOWN.search(text)]
    return lines + points + byte_level.torments(mask, 40_000, seed=1)


def _rows(tokenizer: Any, texts: list[str]) -> Iterator[list[tuple[int, int, int]]]:
    encoded = tokenizer(texts, return_offsets_mapping=True)
    for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        places = [0, *np.cumsum([len(character.encode()) for character in text]).tolist()]
        yield [(index, places[a], places[b]) for index, (a, b) in zip(ids, offsets, strict=True)]


@claim("Byte-level BPE: ids, special tokens and offsets = transformers': texts that differ", 0)
def byte_level_text(quick: bool) -> Measurements:
    for name in KINDS:
        _, path = _directory(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        preprocessor = tf_mlm.load(path).preprocessor
        assert preprocessor is not None
        ours = tf_mlm.TextPreprocessor(preprocessor.vocabulary, max_length=None)
        texts = _texts(name, quick)
        for first in range(0, len(texts), BATCH):
            batch = texts[first : first + BATCH]
            found = ours(batch)
            ids, starts, ends = (part.numpy() for part in (found.token_ids, found.starts, found.ends))
            for row, (text, wanted) in enumerate(zip(batch, _rows(tokenizer, batch), strict=True)):
                size = int(found.lengths[row])
                columns = (column[row, :size].tolist() for column in (ids, starts, ends))
                yield f"{name}: {text!a}", float(list(zip(*columns, strict=True)) != wanted)


@claim("Byte-level BPE: FillMask's scores = the fill-mask pipeline's (∞ for other fills)", 1e-5)
def byte_level_fills(quick: bool) -> Measurements:
    for name, (kind, _) in KINDS.items():
        _, path = _directory(name)
        mask = byte_level.mask_of(kind)
        pipeline = transformers.pipeline("fill-mask", model=str(path), tokenizer=str(path))
        fill = tf_mlm.FillMask(tf_mlm.load(path))
        texts = [f"the {mask} is sorted.", f"{mask}.", f"a{mask} of   {mask} é\u3000x", f"don't {mask}\n"]
        for text in texts[: 2 if quick else None]:
            for options in ({"top_k": 20}, {"targets": [" the", "the", "Ġin", "unheard of"]}):
                yield (
                    f"{name}: {text!a} {options}",
                    _difference(fill(text, **options), pipeline(text, **options)),
                )


def _difference(ours: Any, theirs: Any) -> float:
    if isinstance(ours[0], list):
        return max(_difference(a, b) for a, b in zip(ours, theirs, strict=True))
    pairs = list(zip(ours, theirs, strict=True))
    if any(a[key] != b[key] for a, b in pairs for key in ("token", "token_str", "sequence")):
        return np.inf
    return max(abs(a["score"] - b["score"]) for a, b in pairs)


CLAIMS = [byte_level_text, byte_level_fills]
