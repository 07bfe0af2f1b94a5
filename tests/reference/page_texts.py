"""Texts that make it hard to say where a token stands."""

from __future__ import annotations

# What a reader takes for one character each, whatever it is made of.
TORTURE = (
    "N",
    "a",
    "i\u0308",  # a letter and its dots, one by one
    "ve",
    " ",
    "👩\u200d👩\u200d👧\u200d👦",  # a family: four people and three joiners
    "👍🏽",  # a hand and its colour
    "🇩🇪",  # a flag of two letters
    " ",
    "東",
    "京",
    "𠮷",  # beyond the first plane: four bytes, two units
    " ",
    "e\u0301\u0323\u0330",  # a pile of marks
    "क्षि",  # a cluster of five code points
    " ",
    "한",
    "ᄒ\u1161\u11ab",  # the same syllable in parts
    "\n",
    "🏳\ufe0f\u200d🌈",
    "x",
    "\u0301",  # a mark of the letter before
    " ",
    "the cat",
)
