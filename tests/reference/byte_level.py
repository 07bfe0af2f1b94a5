"""Byte-level BPE tokenizers as RoBERTa's and ModernBERT's files have them, trained on texts of the tests."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

from reference.texts import SAMPLES, documentation_lines
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SIZE = 3000
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>")
MODERN_BERT = ("[UNK]", "[CLS]", "[SEP]", "[PAD]")
_LETTERS = [
    *"abcXYZ 012 \t\n'.,-_stremld<>[]",
    *("  ", "   ", " " * 30, "\u00a0", "\u2028", "\u3000", "\u0085", "é", "e\u0301", "中", "か\u3099"),
    *("Å", "\u2126", "\u1100\u1161", "\u0958a", "😀", "'s", "'re", " the", " and", "{mask}", " {mask}"),
    *("  {mask} ", "<s>", "</s>", "[CLS]", "|||IP|||", "\u0338", "\ufffd", "\x00"),
]


@functools.cache
def _trained(specials: tuple[str, ...]) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, initial_alphabet=alphabet, special_tokens=list(specials), show_progress=False
    )
    tokenizer.train_from_iterator(documentation_lines() + SAMPLES * 3, trainer)
    return tokenizer.to_str()


def roberta(*, add_prefix_space: bool = False, trim_offsets: bool = True) -> Tokenizer:
    """Its special tokens are the first ones of the vocabulary, and the mask takes the blanks before it."""
    tokenizer = Tokenizer.from_str(_trained(ROBERTA))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*ROBERTA, AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", ROBERTA.index("</s>")), ("<s>", ROBERTA.index("<s>")), trim_offsets, add_prefix_space
    )
    return tokenizer


def modern_bert() -> Tokenizer:
    """Texts in form NFC, runs of blanks as tokens, and special tokens behind the vocabulary."""
    tokenizer = Tokenizer.from_str(_trained(()))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken("|||IP|||", normalized=True)])
    tokenizer.add_tokens([AddedToken(" " * size, normalized=True) for size in range(24, 1, -1)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in MODERN_BERT])
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, normalized=False, special=True)])
    ids = tokenizer.token_to_id
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids("[CLS]")), ("[SEP]", ids("[SEP]"))],
    )
    return tokenizer


KINDS = {"roberta": roberta, "modernbert": modern_bert}


def mask_of(kind: str) -> str:
    return "<mask>" if kind == "roberta" else "[MASK]"


def write_tokenizer(directory: Path, kind: str, **settings: Any) -> Tokenizer:
    """Writes `tokenizer.json` and `tokenizer_config.json`, and returns what they say."""
    tokenizer = KINDS[kind](**settings)
    tokenizer.save(str(directory / "tokenizer.json"))
    if kind == "roberta":
        flags = {"lstrip": True, "rstrip": False, "single_word": False, "normalized": False, "special": True}
        values: dict[str, Any] = {
            "tokenizer_class": "RobertaTokenizer",
            "mask_token": {"__type": "AddedToken", "content": "<mask>", **flags},
            **settings,
        }
    else:
        names = ("unk_token", "cls_token", "sep_token", "pad_token", "mask_token")
        values = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **dict(zip(names, (*MODERN_BERT, "[MASK]"), strict=True)),
        }
    (directory / "tokenizer_config.json").write_text(json.dumps(values))
    return tokenizer


def write_older_files(directory: Path) -> Tokenizer:
    """RoBERTa's tokenizer in `vocab.json` and `merges.txt`, as fairseq's conversion wrote it."""
    tokenizer = roberta()
    model = json.loads(tokenizer.to_str())["model"]
    ids = {**model["vocab"], "<mask>": tokenizer.token_to_id("<mask>")}
    (directory / "vocab.json").write_text(json.dumps(ids))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (directory / "merges.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    special = {"mask_token": {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False}}
    (directory / "special_tokens_map.json").write_text(json.dumps(special))
    return tokenizer


def torments(mask: str, count: int, seed: int) -> list[str]:
    """Texts of what goes wrong: blanks of every sort, letters in parts, and tokens as they are spelt."""
    rng = random.Random(seed)
    return [
        "".join(rng.choice(_LETTERS) for _ in range(rng.randint(0, 30))).replace("{mask}", mask)
        for _ in range(count)
    ]


def code_points(first: int, last: int, step: int = 1) -> list[str]:
    """Each code point by itself between letters, digits and blanks."""
    points = (point for point in range(first, last, step) if not 0xD800 <= point < 0xE000)
    return [f"a{chr(point)}1 {chr(point)}\u0301. {chr(point)} x" for point in points]
