"""Jobs done in this process, and what they wrote."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from conftest import WORDS

from tf_mlm.corpus.plan import Job
from tf_mlm.corpus.run_unit import Done, run_unit

OPTIONS = {
    "batch": 8,
    "format": "jsonl",
    "text_field": "text",
    "id_field": "id",
    "unit_bytes": 700,
}


def sentences(count: int, seed: int) -> list[str]:
    """Sentences of a few words of the tiny model."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS[:13], k=chance.randint(3, 12))) for _ in range(count)]


def do(job: Job) -> list[Done]:
    """Every unit, in this process."""
    return [run_unit(job, index) for index in range(len(job.units))]


def parts(output: object) -> dict[str, bytes]:
    """Name and bytes of every part."""
    names = sorted(name for name in os.listdir(str(output)) if "-of-" in name and not name.startswith("."))
    return {name: Path(str(output), name).read_bytes() for name in names}


def rows(output: object) -> list[dict[str, Any]]:
    """The rows of all parts of JSON lines."""
    return [json.loads(line) for part in parts(output).values() for line in part.decode().splitlines()]
