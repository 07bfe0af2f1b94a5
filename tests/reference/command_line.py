"""The command line, run in the process of a test, and a text for it to work on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tf_mlm.cli import main


def run(*arguments: Any) -> int:
    """Runs the command line in this process; its exit code."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def write_animals(path: Path) -> Path:
    """600 documents of one sentence each, of few words; the same in every run."""
    chance = random.Random(0)
    animals, verbs, places = ("cat", "dog", "bird"), ("sat", "slept", "ran"), ("mat", "log", "roof")
    sentences = [
        f"The {chance.choice(animals)} {chance.choice(verbs)} on the {chance.choice(places)}.\n\n"
        for _ in range(600)
    ]
    path.write_text("".join(sentences))
    return path
