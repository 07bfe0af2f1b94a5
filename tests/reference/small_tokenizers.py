"""Tokenizers of ESM, MPNet, RoFormer and FNet as their directories have them, small."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from reference import unigram

RESIDUES = (
    *("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-", "<null_1>"),
    "<mask>",
)
_WORDS = (
    *("the", "list", "is", "sort", "##ed", "in", "place", "it", "where", "stand", "##s", "and", "nothing"),
    *("return", "an", "x", ".", ",", ":", *"0123456789", *(f"##{digit}" for digit in range(10))),
)
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "esm": RESIDUES,
    "mpnet": ("<s>", "<pad>", "</s>", "<unk>", "[UNK]", *_WORDS, "<mask>"),
    "roformer": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS),
}
CLASSES = {"esm": "EsmTokenizer", "mpnet": "MPNetTokenizer", "roformer": "BertTokenizer"}
KINDS = (*VOCABULARIES, "fnet")


def mask_of(kind: str) -> str:
    return "<mask>" if kind in ("esm", "mpnet") else "[MASK]"


def padding_of(kind: str) -> int:
    return 1 if kind in ("esm", "mpnet") else 0


def write_tokenizer(directory: Path, kind: str) -> int:
    """Writes the files of a tokenizer, and returns how many tokens it has."""
    if kind == "fnet":
        tokenizer = unigram.write_tokenizer(directory, "albert")
        values: dict[str, Any] = json.loads((directory / "tokenizer_config.json").read_text())
        values["tokenizer_class"] = "FNetTokenizer"
        (directory / "tokenizer_config.json").write_text(json.dumps(values))
        return tokenizer.get_vocab_size()
    (directory / "vocab.txt").write_text("\n".join(VOCABULARIES[kind]))
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": CLASSES[kind]}))
    return len(VOCABULARIES[kind])


_PIECES_OF_PROTEINS = (
    *(*RESIDUES, *"LAGVSE" * 3, "a", "xy", " ", "  ", "\t", "\n", "\x1c", "\u00a0", "\u3000", "é"),
    *("<", ">", "mask", "<MASK>", "[MASK]", "<mas", "😀"),
)


def residues(count: int, seed: int) -> list[str]:
    """Proteins with all in them that is none: small letters, white space of every sort, parts of tokens."""
    rng = random.Random(seed)
    return ["".join(rng.choices(_PIECES_OF_PROTEINS, k=rng.randint(0, 20))) for _ in range(count)]


def text_of(kind: str) -> str:
    """A text that the tokenizer knows the tokens of."""
    if kind == "esm":
        return "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV"
    return "the list is sorted in place, and nothing is returned: it is sorted where it stands."
