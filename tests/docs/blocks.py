"""The fenced blocks of a page, in order."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[\w+-]*)(?P<more>[^`\n]*)$")
_NOT_RUN = re.compile(r"^ *<!-- not run: (?P<reason>.+?) -->$")
_INCLUDED = re.compile(r'^--8<-- "(?P<path>.+)"\n', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: what stands behind the fence; empty for none.
        line: of its first line of text, counted from 1.
        not_run: why it is not run, from a comment `<!-- not run: ... -->` on the line before the fence.
    """

    page: Path
    language: str
    line: int
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All blocks of a page; those in a list or in a tab lose their indentation."""
    found, lines = [], page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        end = lines.index(fence["indent"] + fence["ticks"], at + 1)
        comment = _NOT_RUN.match(lines[at - 1]) if at else None
        text = textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n"
        text = _INCLUDED.sub(lambda match: (ROOT / match["path"]).read_text(encoding="utf-8"), text)
        found.append(Block(page, fence["language"], at + 2, text, comment and comment["reason"]))
        at = end + 1
    return found


def name(page: Path) -> str:
    """How a test is called."""
    return page.relative_to(ROOT).as_posix()


def of(*languages: str) -> list[Block]:
    """The blocks of all pages in these languages."""
    return [block for page in PAGES if page.exists() for block in blocks(page) if block.language in languages]
