"""Files to documents, read as a stream with bounded memory: the one reader of every verb.

Text, gzip, JSON lines and JSON lists; what holds no text is refused by name. Lines end in `\\n` or
`\\r\\n` and in nothing else. In a text file a blank line ends a document, or every line does, if
asked for; a JSON value is one document. What is split into training and held-out text is
documents, never lines, by a hash of their content: the choice does not depend on order, file names
or the machine, and a repeated document never lands on both sides.
"""

from __future__ import annotations

import codecs
import itertools
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tf_mlm.errors import ConfigError
from tf_mlm.reading.file_kind import HEAD_BYTES, kind_by_content, kind_by_name
from tf_mlm.reading.files import STANDARD_INPUT, naming, no_text, open_file
from tf_mlm.reading.json_values import json_values

MOST_CHARACTERS = 1 << 20
"""Longer documents are cut at white space, so that memory stays bounded whatever the file holds."""
LONGEST_RUN = 1 << 24
"""This many characters without white space are not text."""


def read_documents(
    files: Sequence[Path], *, text_field: str = "text", line_by_line: bool = False
) -> Iterator[str]:
    """The documents of text and JSON files, stripped of surrounding white space; no empty ones.

    Args:
        files: from `find_files`.
        text_field: the field of a JSON object that holds the document.
        line_by_line: whether each line of a text file is a document, in place of what stands between
            blank lines.

    Raises:
        ConfigError: naming file and place, for bytes that are not UTF-8 text, a gzip file that is
            damaged, a JSON value that is neither a string nor an object with one in `text_field`, a
            run of 16 million characters without white space, a file that changes meanwhile, or files
            without any document.
    """
    empty = True
    for _, document in documents_of(files, text_field=text_field, line_by_line=line_by_line):
        empty = False
        yield document
    if empty:
        raise no_text(files)


def documents_of(
    files: Sequence[Path], *, text_field: str = "text", line_by_line: bool = False
) -> Iterator[tuple[Path, str]]:
    """`read_documents` with the file of each; there may be none."""
    for path in files:
        for document in _documents(path, text_field, line_by_line):
            for piece in pieces(document):
                yield path, piece


def read_texts(path: Path, *, text_field: str = "text") -> Iterator[str]:
    """The texts of a file, one a line or one a JSON value, none of them cut; no empty ones.

    Raises:
        ConfigError: as `read_documents`, and for a line of more than 16 million characters.
    """
    yield from _documents(path, text_field, line_by_line=True, longest=LONGEST_RUN)


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed, in pieces."""
    with naming(path), open_file(path) as stream:
        before = _state(path)
        while chunk := stream.read(MOST_CHARACTERS):
            yield chunk
        if _state(path) != before:
            raise ConfigError(
                f"A text file must stay as it is while it is read. Received: `{path}`, which changed. Start "
                "again when it is written in full."
            )


def decoded(path: Path, chunks: Iterable[bytes]) -> Iterator[str]:
    """Text in pieces, without a byte-order mark at its start."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, mark = 1, "\ufeff"
    for chunk in itertools.chain(chunks, [b""]):
        if b"\0" in chunk:
            raise ConfigError(
                f"A text file must be UTF-8 text. Received: `{path}`, which is binary: line "
                f"{line + chunk[: chunk.index(0)].count(10)} holds a zero byte. Extract its text first, or "
                "convert it if it is UTF-16 (`iconv -f UTF-16 -t UTF-8`)."
            )
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            data = error.object
            raise ConfigError(
                f"A text file must be UTF-8 text. Received: `{path}`, line "
                f"{line + data[: error.start].count(10)}, byte 0x{data[error.start]:02x}. Convert it, for "
                "example with `iconv -f WINDOWS-1252 -t UTF-8`, or extract its text first."
            ) from None
        if text:
            yield text.removeprefix(mark)
            mark = ""
        line += chunk.count(b"\n")


def _state(path: Path) -> Any:
    """What changes when somebody writes to a file; None for standard input."""
    if path == STANDARD_INPUT:
        return None
    status = path.stat()
    return stat.S_ISREG(status.st_mode) and (status.st_ino, status.st_size, status.st_mtime_ns)


def _lines(path: Path, text: Iterable[str], longest: int) -> Iterator[str]:
    """Lines without their ends; one of more than `longest` characters comes in pieces cut at white space."""
    rest, line = "", 1
    for piece in text:
        *full, rest = (rest + piece).split("\n")
        for whole in full:
            yield whole.removesuffix("\r").removeprefix("\ufeff")
        line += len(full)
        while len(rest) > longest:
            cut = max(rest.rfind(" ", 1), rest.rfind("\t", 1))
            if cut <= 0 or longest == LONGEST_RUN:
                break
            yield rest[:cut]
            rest = rest[cut:]
        if len(rest) > LONGEST_RUN:
            raise ConfigError(
                f"Text must have white space and line ends. Received: `{path}`, line {line} runs on for more "
                f"than {LONGEST_RUN} characters. Break it into lines, or remove it."
            )
    if rest:
        yield rest.removesuffix("\r").removeprefix("\ufeff")


def _documents(path: Path, text_field: str, line_by_line: bool, longest: int | None = None) -> Iterator[str]:
    """The documents of one file; lines beyond `longest` and blocks of lines beyond a limit are cut."""
    kind = kind_by_name(path)
    if kind == "tfrecord":
        raise ConfigError(
            f"Text is read here. Received: `{path}`, which holds token ids by its name. Give the text that "
            "they were made from."
        )
    chunks = _chunks(path)
    first = next(chunks, b"")
    found = kind_by_content(path, first[:HEAD_BYTES], whole=len(first) < min(HEAD_BYTES, MOST_CHARACTERS))
    text = decoded(path, itertools.chain([first], chunks))
    documents: Iterator[str]
    if (kind or found) == "json":
        values = json_values(path, text, LONGEST_RUN)
        documents = (_text_of(path, line, value, text_field) for line, value in values)
    else:
        lines = _lines(path, text, longest or MOST_CHARACTERS)
        documents = lines if line_by_line else _blocks(lines)
    for document in documents:
        if document := document.strip():
            yield document


def _text_of(path: Path, line: int, value: Any, field: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get(field), str):
        return str(value[field])
    if not isinstance(value, dict):
        received = type(value).__name__
    elif field in value:
        received = f'{type(value[field]).__name__} in "{field}"'
    else:
        received = f"the fields {sorted(value)[:20]}"
    raise ConfigError(
        f'Each JSON document must be an object with a string in "{field}", or a string. Received: `{path}`, '
        f"line {line}, {received}. Name the field that holds the text with --text-field (in Python, "
        "`text_field`), or write one document a line."
    )


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    """Runs of lines between blank ones, cut where they grow too long."""
    block: list[str] = []
    size = 0
    for line in lines:
        if block and (not line.strip() or size + len(line) > MOST_CHARACTERS):
            yield "\n".join(block)
            block, size = [], 0
        if line.strip():
            block.append(line)
            size += len(line) + 1
    if block:
        yield "\n".join(block)


def pieces(text: str) -> Iterator[str]:
    """A document, or what it is cut into: at white space, so that memory stays bounded."""
    while len(text) > MOST_CHARACTERS:
        cut = max(text.rfind("\n", 1, MOST_CHARACTERS), text.rfind(" ", 1, MOST_CHARACTERS))
        cut = cut if cut > 0 else MOST_CHARACTERS
        yield text[:cut].strip()
        text = text[cut:].strip()
    if text:
        yield text
