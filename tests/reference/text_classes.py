"""Classes of text on which tokenizers part ways, each on its own: one kind of thing among ordinary words."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Sequence

from reference.texts import SPECIALS, WORDS

EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "❤️", "🇩🇪", "1️⃣", "🧑🏿‍🚀", "☺", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"]
_ASSIGNED = [
    chr(point) for point in range(0x80, 0x110000) if unicodedata.category(chr(point)) not in ("Cs", "Cn")
]
_MARKS = [character for character in _ASSIGNED if unicodedata.category(character)[0] == "M"]


def text_classes(lines: int) -> dict[str, list[str]]:
    """That many lines of each class, by its name."""
    return {name: _lines(name, pieces, lines) for name, pieces in _PIECES.items()}


def lone_surrogates(lines: int) -> list[str]:
    """Python strings that no UTF-8 stands for."""
    return _lines("surrogates", ["\ud800", "\udfff", "a\udc00b", "\ude00\ud83d"], lines)


def _lines(name: str, pieces: Sequence[str], lines: int) -> list[str]:
    rng = random.Random(name)
    return ["".join(_part(rng, pieces) for _ in range(rng.randint(1, 6))) for _ in range(lines)]


def _part(rng: random.Random, pieces: Sequence[str]) -> str:
    """A word, then one of the pieces: apart, at the word's end, or inside a word."""
    piece, word, other = rng.choice(pieces), rng.choice(WORDS), rng.choice(WORDS)
    return rng.choice((f"{word} {piece} ", f"{word}{piece} ", f"{word}{piece}{other} "))


def _of(categories: str, rule: Callable[[str], bool] = lambda character: True) -> list[str]:
    """Characters beyond ASCII whose category starts with one of these words, and that obey the rule."""
    wanted = tuple(categories.split())
    return [c for c in _ASSIGNED if unicodedata.category(c).startswith(wanted) and rule(c)]


def _has_accent(character: str) -> bool:
    return any(unicodedata.combining(part) for part in unicodedata.normalize("NFD", character)[1:])


def _is_right_to_left(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL", "AN")


def _is_ideograph(character: str) -> bool:
    return unicodedata.name(character, "").startswith("CJK ")


_ACCENTED = _of("L", _has_accent)
_PIECES: dict[str, Sequence[str]] = {
    "plain ASCII": ["running", "it's", "3.5%", "a_b", "(x)", "U.S.", "e-mail", "#1", "\t", "C++", '"', "`y`"],
    "special tokens spelt in the text": [*SPECIALS, "[MASK][MASK]", "[MASK]."],
    "words around 100 characters": [
        letter * size for letter in ("a", "é", "ж", "ß", "e\u0301") for size in (49, 50, 51, 99, 100, 101)
    ],
    "accents, composed": _ACCENTED,
    "accents, decomposed": [unicodedata.normalize("NFD", character) for character in _ACCENTED],
    "combining marks in any order": [
        a + b for a, b in zip(_MARKS, random.Random(1).sample(_MARKS, len(_MARKS)), strict=True)
    ],
    "letters whose folding is not their lower case": _of("L", lambda c: c.lower() != c.casefold()),
    "other cased letters": _of("Lu Ll Lt", lambda c: not _has_accent(c) and c.lower() == c.casefold()),
    "Chinese characters": _of("Lo", _is_ideograph),
    "right-to-left": _of("L N P", _is_right_to_left),
    "other letters": _of("Lo Lm", lambda c: not _is_ideograph(c) and not _is_right_to_left(c)),
    "digits and numbers": _of("N", lambda c: not _is_right_to_left(c)),
    "punctuation": _of("P", lambda c: not _is_right_to_left(c)),
    "symbols": _of("S"),
    "emoji sequences": EMOJI,
    "spaces and line separators": [*_of("Z"), "\t", "\n", "\r", "\v", "\f"],
    "control characters": [chr(point) for point in (*range(32), *range(0x7F, 0xA0))],
    "zero-width and format characters": _of("Cf"),
    "private use": _of("Co")[::97],
    "unassigned": [chr(p) for p in range(0x80, 0x110000, 97) if unicodedata.category(chr(p)) == "Cn"],
}
