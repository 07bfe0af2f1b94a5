"""Files to documents: text, gzip, JSON lines and globs, read as a stream with bounded memory.

In a text file a blank line ends a document; a JSON line is one document. What is split into
training and held-out text is documents, never lines, by a hash of their content: the choice does
not depend on order, file names or the machine, and a repeated document never lands on both sides.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from tf_mlm.config import ConfigError

MOST_CHARACTERS = 1 << 20
"""Longer documents are cut at white space, so that memory stays bounded whatever the file holds."""
LONGEST_RUN = 1 << 24
"""This many characters without white space are not text."""
JSON_LINES = (".jsonl", ".ndjson", ".jsonlines")
TFRECORDS = (".tfrecord", ".tfrecords")


def find_files(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files behind paths and globs, each once, in the order given and sorted within a glob.

    Raises:
        ConfigError: if there is no pattern, one matches nothing, is a directory or cannot be opened,
            or a file is empty.
    """
    found: dict[Path, None] = {}
    for given in patterns:
        pattern = os.fspath(given)
        matches = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise ConfigError(
                f"A training file must exist. Received: `{pattern}`, which matches nothing. Check the path."
            )
        for match in matches:
            path = Path(match)
            if path.is_dir():
                if len(matches) == 1:
                    raise ConfigError(
                        f"A training file must be a file. Received: the directory `{path}`. Try `{path}/*`."
                    )
                continue
            if path.stat().st_size == 0:
                raise ConfigError(
                    f"A training file must hold text. Received: `{path}`, which is empty. Leave it out, or "
                    "write it again."
                )
            if not os.access(path, os.R_OK):
                raise ConfigError(
                    f"A training file must be readable. Received: `{path}`. Check its permissions."
                )
            found[path] = None
    if not found:
        raise ConfigError("Training needs at least one file of text. Received: none.")
    return list(found)


def kind_of(path: Path) -> str:
    """`text`, `json` or `tfrecord`, by the name of the file (a final `.gz` does not count).

    Example:
        >>> from pathlib import Path
        >>> from tf_mlm.training.corpus import kind_of
        >>> kind_of(Path("news.jsonl.gz")), kind_of(Path("ids.tfrecord")), kind_of(Path("book.txt"))
        ('json', 'tfrecord', 'text')
    """
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return "json" if suffix in JSON_LINES else "tfrecord" if suffix in TFRECORDS else "text"


def read_documents(files: Sequence[Path], *, text_field: str = "text") -> Iterator[str]:
    """The documents of text and JSON-lines files, stripped of surrounding white space; no empty ones.

    Raises:
        ConfigError: naming file and place, for bytes that are not UTF-8 text, a gzip file that is
            damaged, a line that is not a JSON object with a string in `text_field`, or a run of
            16 million characters without white space.
    """
    for path in files:
        lines = _lines(path)
        pieces: Iterator[str]
        if kind_of(path) == "json":
            pieces = (
                piece
                for line, text in enumerate(lines, 1)
                for piece in _json_text(path, line, text, text_field)
            )
        else:
            pieces = _blocks(lines)
        for document in pieces:
            document = document.strip()
            if document:
                yield document


def split_key(content: str | bytes) -> bytes:
    """What decides on which side of the split a document lies: 8 bytes, a pure function of its content."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=8, person=b"tf_mlm split").digest()


def is_held_out(content: str, share: float) -> bool:
    """Whether a document belongs to the held-out share; a pure function of its content.

    Example:
        >>> from tf_mlm.training.corpus import is_held_out
        >>> 150 < sum(is_held_out(f"document {i}", 0.1) for i in range(2000)) < 250
        True
    """
    return in_share(split_key(content), share)


def in_share(key: bytes, share: float) -> bool:
    """Whether the document with this `split_key` belongs to the held-out share."""
    return int.from_bytes(key, "big") < share * 2**64


def _open(path: Path) -> IO[bytes]:
    stream = path.open("rb")
    magic = stream.read(2)
    stream.seek(0)
    return gzip.open(stream) if magic == b"\x1f\x8b" else stream  # type: ignore[return-value]


def _lines(path: Path) -> Iterator[str]:
    """Lines without their ends; an endless one comes in pieces cut at white space."""
    rest, line = b"", 1
    try:
        with _open(path) as stream:
            while chunk := stream.read(MOST_CHARACTERS):
                if b"\0" in chunk:
                    raise ConfigError(
                        f"A training file must be UTF-8 text. Received: `{path}`, which is binary: line "
                        f"{line + chunk[: chunk.index(0)].count(10)} holds a zero byte. Extract its text "
                        "first."
                    )
                *full, rest = (rest + chunk).split(b"\n")
                for text in full:
                    yield _decode(text, path, line)
                    line += 1
                if len(rest) > MOST_CHARACTERS and kind_of(path) == "text":
                    cut = max(rest.rfind(b" "), rest.rfind(b"\t"))
                    if cut > 0:
                        yield _decode(rest[:cut], path, line)
                        rest = rest[cut:]
                if len(rest) > LONGEST_RUN and kind_of(path) == "json":
                    raise ConfigError(
                        f"A JSON line may have {LONGEST_RUN} bytes. Received: `{path}`, line {line}, which "
                        "has more. Cut its document into several, or remove it."
                    )
                if len(rest) > LONGEST_RUN:
                    raise ConfigError(
                        f"Text must have white space or line ends. Received: `{path}`, line {line} runs "
                        f"on for more than {LONGEST_RUN} bytes. Break it into lines, or remove it."
                    )
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"`{path}` is a damaged gzip file: {error}. Compress it again.") from error
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be read: {error.strerror or error}.") from error
    if rest:
        yield _decode(rest, path, line)


def _decode(text: bytes, path: Path, line: int) -> str:
    try:
        return text.decode("utf-8").rstrip("\r").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"A training file must be UTF-8 text. Received: `{path}`, line {line}, byte "
            f"0x{text[error.start]:02x}. Convert it, for example with `iconv -t UTF-8`, or extract its text "
            f"first."
        ) from None


def _json_text(path: Path, line: int, text: str, field: str) -> Iterator[str]:
    if not text.strip():
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # a nesting or a number beyond Python is no JSONDecodeError
        reason = f"column {error.colno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else error
        raise ConfigError(
            f"Each line of a JSON-lines file must be valid JSON. Received: `{path}`, line {line} ({reason}). "
            "Mend or remove the line."
        ) from None
    if not isinstance(value, dict):
        received = type(value).__name__
    elif field not in value:
        received = f"the fields {sorted(value)}"
    else:
        received = f'{type(value[field]).__name__} in "{field}"'
    if not isinstance(value, dict) or not isinstance(value.get(field), str):
        raise ConfigError(
            f'Each JSON line must be an object with a string in "{field}". Received: `{path}`, line {line}, '
            f"{received}. Name the field that holds the text with `text_field`."
        )
    yield from _pieces(value[field])


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


def _pieces(text: str) -> Iterator[str]:
    while len(text) > MOST_CHARACTERS:
        cut = max(text.rfind("\n", 1, MOST_CHARACTERS), text.rfind(" ", 1, MOST_CHARACTERS))
        cut = cut if cut > 0 else MOST_CHARACTERS
        yield text[:cut]
        text = text[cut:]
    yield text
