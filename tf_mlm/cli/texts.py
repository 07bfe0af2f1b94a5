"""Texts of verbs that take some on the command line, and more from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

BATCH = 32
"""Texts per request, so that one over the network stays within its time."""


def file_option(text: str) -> Callable[..., Any]:
    """`--file`, with a help text."""
    kind = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
    return click.option("--file", "path", type=kind, help=text)


def all_texts(texts: tuple[str, ...], path: Path | None, text_field: str) -> list[str]:
    """Those of the command line, and those of the file; at least one."""
    from tf_mlm.reading.documents import read_texts
    from tf_mlm.reading.files import find_files

    lines = [text for text in texts if text.strip()]
    for file in find_files([path], once=True) if path else ():
        lines += read_texts(file, text_field=text_field)
    if not lines:
        raise click.UsageError("Give at least one text, or --file with one text per line.")
    return lines


def answered(texts: Sequence[str], ask: Callable[[Sequence[str]], Iterable[Any]]) -> list[dict[str, Any]]:
    """Each text with the fields of its answer; `ask` gives those of a request's texts."""
    requests = (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))
    return [
        {"text": text, **answer.fields}
        for request in requests
        for text, answer in zip(request, ask(request), strict=True)
    ]


def refuse_texts(texts: tuple[str, ...], path: Path | None = None) -> None:
    """With --corpus all texts are those of its files."""
    if texts or path:
        received = f"the text {texts[0]!r}" if texts else f"--file {path}"
        raise click.UsageError(f"With --corpus all texts come from its files. Received: {received} too.")
