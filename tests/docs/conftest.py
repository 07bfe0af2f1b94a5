"""What a reader of the manual has: some text, a model, and an export of it."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from reference.without_xla import without_xla

SUBJECTS = ("cat", "dog", "bird", "horse", "list", "array", "file")
VERBS = ("sat", "slept", "ran", "stood", "was read", "was returned")
PLACES = ("on the mat", "in the house", "under the roof", "at the end")


def sentences(count: int, seed: int) -> list[str]:
    """Sentences of a few words."""
    chance = random.Random(seed)
    return [
        f"The {chance.choice(SUBJECTS)} {chance.choice(VERBS)} {chance.choice(PLACES)}." for _ in range(count)
    ]


@pytest.fixture(scope="session")
def materials(made_once: Callable[..., Path], plain_export: Path) -> Path:
    """The files that pages speak of: `corpus/`, `news/`, texts, `my-model` and, of another, `models/mlm`."""

    def make(root: Path) -> None:
        _write_materials(root)
        shutil.copytree(plain_export, root / "models" / "mlm" / "1")

    return made_once("materials", make)


def _write_materials(root: Path) -> None:
    from docs.small import small_arguments
    from tf_mlm.cli import main

    for name in ("corpus", "news"):
        (root / name).mkdir()
    for number in range(2):
        (root / "corpus" / f"{number}.txt").write_text("\n\n".join(sentences(300, number)) + "\n")
    with gzip.open(root / "news" / "2026.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps({"text": sentence}) + "\n" for sentence in sentences(300, 2))
    (root / "held-out.txt").write_text("\n\n".join(sentences(60, 3)) + "\n")
    (root / "requests.txt").write_text("\n".join(sentences(60, 4)) + "\n")
    (root / "sentences.txt").write_text("\n".join(sentences(5, 5)) + "\n")
    corpus = sorted(str(path) for path in (root / "corpus").iterdir())
    with pytest.MonkeyPatch.context() as patch:
        without_xla(patch)
        main(small_arguments(["train", *corpus, "--output", str(root / "my-model"), "--json"]))
