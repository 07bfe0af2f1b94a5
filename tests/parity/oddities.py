"""What is made of odd model directories, on both sides."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from parity.claim import Measurements, claim, difference
from parity.odd_directories import ODDITIES, odd_directory

import tf_mlm

PARTS_ON_LINES = """the cat
Cat
sat
covid
COVID
covids
new york
New  York
café
CAFÉ
[unused1]
[unused9]
<e1>
</e1>
<E1>
<mask>
[MASK]
<s>
</s>
playing
playings
don't
tok3
tok42
tok420
xxxxxxx"""
PARTS = [
    *PARTS_ON_LINES.split("\n"),
    *".,!'1_[-bſ文 \t\x00",
    "e\u0301",
    "  ",
    "\u3000",
    "\u200b",
    "a\u00a0b",
    "\u0085",
]


def their_tokenizer(directory: Path) -> Any:
    """As AutoTokenizer makes it; without a model type it cannot, and BERT's class does."""
    kind = json.loads((directory / "config.json").read_text()).get("model_type")
    return (transformers.AutoTokenizer if kind else transformers.BertTokenizer).from_pretrained(directory)


def their_model(directory: Path) -> Any:
    kind = json.loads((directory / "config.json").read_text()).get("model_type")
    return (
        (transformers.AutoModelForMaskedLM if kind else transformers.BertForMaskedLM)
        .from_pretrained(directory)
        .eval()
    )


def texts(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return [
        "".join(rng.choice(PARTS) + rng.choice(["", " "]) for _ in range(rng.randint(0, 8)))
        for _ in range(count)
    ]


def tokens_of(tokenizer: Any, batch: list[str]) -> list[list[tuple[int, int, int]]]:
    """Id, first and last byte of each token of transformers' tokenizer."""
    rows = []
    encoded = tokenizer(batch, return_offsets_mapping=True)
    for text, ids, offsets in zip(batch, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        places = [0, *np.cumsum([len(character.encode()) for character in text]).tolist()]
        rows.append([(index, places[a], places[b]) for index, (a, b) in zip(ids, offsets, strict=True)])
    return rows


def our_tokens_of(model: Any, batch: list[str]) -> list[list[tuple[int, int, int]]]:
    found = model.preprocessor(batch)
    columns = (found.token_ids.numpy(), found.starts.numpy(), found.ends.numpy())
    return [
        [
            (int(token), int(start), int(end))
            for token, start, end in zip(*(column[row][:length] for column in columns), strict=True)
        ]
        for row, length in enumerate(found.lengths.numpy())
    ]


@claim("Odd tokenizer files and checkpoints: texts with other ids or offsets, loaded and saved again", 0.0)
def odd_tokens(quick: bool) -> Measurements:
    batch = texts(3, 150 if quick else 1000)
    for name, edit in list(ODDITIES.items())[:: 3 if quick else 1]:
        with odd_directory(edit) as directory:
            expected = tokens_of(their_tokenizer(directory), batch)
            ours = tf_mlm.load(directory)
            wrong = [a != b for a, b in zip(our_tokens_of(ours, batch), expected, strict=True)]
            again = directory.parent / "again"
            tf_mlm.save(ours, again)
            wrong += [a != b for a, b in zip(tokens_of(their_tokenizer(again), batch), expected, strict=True)]
            yield name, float(sum(wrong))


@claim("Odd tokenizer files and checkpoints: logits and FillMask's scores (∞ for other fills)", 1e-4)
def odd_fills(quick: bool) -> Measurements:
    for name, edit in list(ODDITIES.items())[8 if quick else 0 :: 12 if quick else 1]:
        with odd_directory(edit) as directory:
            theirs, tokenizer = their_model(directory), their_tokenizer(directory)
            ours = tf_mlm.load(directory)
            again = directory.parent / "again"
            tf_mlm.save(ours, again)
            ids = np.arange(1, 61)[None]  # RoBERTa skips the positions of padding, which has the id 0
            with torch.no_grad():
                logits = [model(torch.tensor(ids)).logits for model in (theirs, their_model(again))]
            everywhere = np.arange(60, dtype=np.int32)[None]
            mine = ours(ids.astype(np.int32), [60], np.zeros_like(everywhere), everywhere)
            worst = max(difference(mine, logits[0]), difference(logits[1], logits[0]))
            yield name, max(worst, _fills(ours, theirs, tokenizer))


def _fills(ours: Any, theirs: Any, tokenizer: Any) -> float:
    """The largest difference of scores over all tokens, infinite for other tokens or texts."""
    mask = tokenizer.mask_token
    pipeline = transformers.pipeline("fill-mask", model=theirs, tokenizer=tokenizer)
    fill = tf_mlm.FillMask(ours)
    worst = 0.0
    for text in (f"the {mask} sat [unused1] on a mat.", f"playings {mask}, New York don't!"):
        rows = [
            sorted(answer(text, top_k=ours.config.vocab_size), key=lambda fill: fill["token"])
            for answer in (fill, pipeline)
        ]
        for a, b in zip(*rows, strict=True):
            if any(a[key] != b[key] for key in ("token", "token_str", "sequence")):
                return np.inf
            worst = max(worst, abs(a["score"] - b["score"]))
    return worst


CLAIMS = [odd_tokens, odd_fills]
