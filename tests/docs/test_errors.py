"""The messages that the manual explains are those of the source, and the names it gives exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import tf_mlm
from docs.blocks import ROOT

PAGE = ROOT / "docs" / "guides" / "errors.md"
# What TensorFlow says, in the words that the package looks for.
_ROW = re.compile(r"^\| (?P<ticks>`+) ?(?P<message>.+?) ?(?P=ticks) \|")
MESSAGES = [
    match["message"] for line in PAGE.read_text(encoding="utf-8").splitlines() if (match := _ROW.match(line))
]


@cache
def source_texts() -> list[str]:
    """Every text in the package on one line, with `…` for what is filled in."""
    found = []
    for path in sorted(Path(tf_mlm.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append(" ".join("".join(map(str, parts)).split()))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(" ".join(node.value.split()))
    return found


def is_said(message: str) -> bool:
    """Whether some text holds the message; what stands for a value may be more text on either side."""
    pattern = re.compile(".*?".join(map(re.escape, message.split("…"))))
    return any(pattern.search(text) for text in source_texts())


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_one_of_the_source(message: str) -> None:
    assert is_said(message)


def test_every_row_is_read() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    tables = sum(line == "| message | why | do |" for line in rows)
    assert len(MESSAGES) == len(rows) - tables > 30


def test_a_message_that_nobody_says_is_found() -> None:
    assert not is_said("A text file must be blue.")
    assert not is_said("A text file … blue.")
