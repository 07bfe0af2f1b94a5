"""`tf-mlm` with the numbers of a manual made so small that each command takes seconds."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import pytest
from reference.without_xla import without_xla

# A later option wins over an earlier one.
_OPTIONS = {
    "train": {
        "--steps": "2",
        "--batch-size": "8",
        "--length": "16",
        "--hidden-size": "16",
        "--layers": "1",
        "--heads": "2",
        "--vocab-size": "80",
        "--held-out": "0.2",
        "--evaluation-rows": "8",
    },
    "vocab": {"--size": "80"},
    "evaluate": {"--rows": "8", "--length": "16"},
    "export": {"--batch-buckets": "2", "--length-buckets": "16", "--mask-buckets": "4"},
}
# They choose the number of steps themselves, or the buckets.
_INSTEAD = {"--steps": "--minutes", "--length-buckets": "--calibrate", "--mask-buckets": "--calibrate"}
_SIZES = ("--hidden-size", "--layers", "--heads", "--vocab-size")
_IN_PYTHON = {
    r"\bsteps=[\d_]+": "steps=2",
    r"\bbatch_size=[\d_]+": "batch_size=8",
    r"\b(?<!_)length=\d+": "length=16",
    r"\bvocabulary_size=8_?000\b": "vocabulary_size=80",
}


# The bytes alone are 256; a Unigram vocabulary has every character.
_OF_BYTES = {"--vocab-size": "300", "--size": "300"}


def small_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a `tf-mlm` command, and after them those that make it small."""
    more: list[str] = ["--no-xla"] if arguments and arguments[0] == "export" else []
    for option, value in _OPTIONS.get(arguments[0] if arguments else "", {}).items():
        if {"byte-bpe", "roberta", "modernbert", "unigram", "albert"} & set(arguments):
            value = _OF_BYTES.get(option, value)
        of_new_model = option in _SIZES and "--from" in arguments
        if _INSTEAD.get(option) not in arguments and not of_new_model:
            more += [option, value]
    return [*arguments, *more]


def small_program(text: str) -> str:
    """A Python block with the settings that take long made small."""
    for pattern, value in _IN_PYTHON.items():
        text = re.sub(pattern, value, text)
    return text


if __name__ == "__main__":
    from tf_mlm.cli import main

    if sys.argv[1:2] in (["train"], ["evaluate"]):
        without_xla(pytest.MonkeyPatch())
    main(small_arguments(sys.argv[1:]))
