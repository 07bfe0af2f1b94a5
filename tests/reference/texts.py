"""Texts of every sort to compare tokenizers on: real, generated, and made to go wrong."""

from __future__ import annotations

import collections
import importlib
import inspect
import pydoc_data.topics
import random
import unicodedata
from typing import Literal

from tf_mlm.config import TokenizerConfig

CONFIGS = {
    "uncased": TokenizerConfig(),
    "cased": TokenizerConfig(do_lower_case=False),
    "uncased-accents": TokenizerConfig(strip_accents=False),
    "cased-no-accents-no-cjk": TokenizerConfig(
        do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False
    ),
}
MODULES = "argparse collections ctypes decimal difflib email.message inspect logging pathlib statistics"
SPECIALS = ["[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[mask]", "[MASK", "MASK]", "[[MASK]]"]
SAMPLES = [
    *(
        "👩‍👩‍👧‍👦",
        "🏳️‍🌈",
        "👍🏽",
        "é",
        "e\u0301",
        "ệ",
        "e\u0323\u0302",
        "ﬁ",
        "İ",
        "ẞ",
        "ǅ",
        "ŉ",
        "ß",
        "œuvre",
        "Straße",
    ),
    *(
        "Σίσυφος",
        "한국어",
        "日本語",
        "中",
        "豈",
        "\U00020000",
        "\U0002f800",
        "ﷺ",
        "שלום",
        "العربية",
        "\u202eא",
        "क्षि",
        "ไทย",
    ),
    *(
        "ꦏ꧀",
        "\U0001d165\U0001d16d",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\ufffd",
        "\x00",
        "\x7f",
        "\x85",
        "\u2028",
        "\u00a0",
    ),
]
NOUNS = ["café", "naïveté", "résumé", "Übung", "jalapeño", "façade", "piñata", "doppelgänger", "coöperation"]
WORDS = ["a", "the", "of", "that", "is", "used", "for", "small", "part", "animal", "act", "(esp.)", "don't"]


def documentation_lines() -> list[str]:
    """Lines of the documentation that comes with Python."""
    documents = list(pydoc_data.topics.topics.values())
    for name in MODULES.split():
        for member in vars(importlib.import_module(name)).values():
            documents.append(inspect.getdoc(member) or "")
            if inspect.isclass(member):
                documents += [inspect.getdoc(method) or "" for method in vars(member).values()]
    return [line for document in documents for line in document.splitlines()]


def generated_glosses() -> list[str]:
    """Short dictionary entries, generated."""
    rng = random.Random(3)
    marks = ["; ", ", ", " — ", "; “", "” ", " (", ") ", ": ", " / ", "… "]
    lines = []
    for _ in range(20000):
        words = [rng.choice(NOUNS if rng.random() < 0.2 else WORDS) for _ in range(rng.randint(3, 14))]
        lines.append(
            f"{rng.choice(NOUNS)}: "
            + "".join(w + (rng.choice(marks) if rng.random() < 0.2 else " ") for w in words)
        )
    return lines


FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


class Torture:
    """Texts made to go wrong: every category of Unicode, marks in any order, masks anywhere."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        categories = collections.defaultdict(list)
        for point in range(0x110000):
            categories[unicodedata.category(chr(point))].append(chr(point))
        del categories["Cs"]  # no UTF-8 for lone surrogates
        self.categories = list(categories.values())
        self.marks = categories["Mn"] + categories["Mc"] + categories["Me"]
        self.letters = categories["Ll"] + categories["Lu"]

    def text(self) -> str:
        return "".join(self._part() for _ in range(self.rng.randint(0, 25)))

    def _part(self) -> str:
        rng = self.rng
        form = rng.choice(FORMS)
        return rng.choice(
            (
                lambda: rng.choice(rng.choice(self.categories)),
                lambda: rng.choice(rng.choice(self.categories)),
                lambda: rng.choice(SPECIALS),
                lambda: rng.choice(SAMPLES),
                lambda: rng.choice("aBz09.,!?[]#-_ \t\n\r\v"),
                lambda: "".join(rng.choices(self.marks, k=rng.randint(1, 5))),
                lambda: unicodedata.normalize(form, rng.choice(self.letters) + rng.choice(SAMPLES)),
                lambda: rng.choice([" ", "the", "Word", "running", "über", "don't"]),
                lambda: rng.choice("aé中🏽") * (rng.randint(98, 103) if rng.random() < 0.1 else 2),
            )
        )()
