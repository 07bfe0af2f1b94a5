"""From paths and globs to files that can be read; what is in the way is said in one line."""

from __future__ import annotations

import contextlib
import glob
import gzip
import io
import os
import stat
import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import IO, Any

from tf_mlm.errors import ConfigError, SameFileWarning
from tf_mlm.reading.file_kind import HEAD_BYTES, kind_by_content, kind_by_name

STANDARD_INPUT = Path("-")
NAMES_SHOWN = 3


def find_files(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    once: bool = False,
    tables: bool = False,
) -> list[Path]:
    """The files behind paths and globs, each once, in the order given and sorted within a glob.

    Args:
        patterns: one path or glob, or several.
        once: whether the text is read only once; then pipes and `-`, standard input, are files too.
        tables: whether Parquet is read too; what it holds is not looked at here.

    Raises:
        ConfigError: if there is no pattern, one matches no file, is a directory or cannot be opened,
            or a file is empty or holds no text, as far as its name and its first bytes tell.
    """
    found: dict[Path, None] = {}
    names: dict[tuple[int, int], Path] = {}
    for given in [patterns] if isinstance(patterns, str | os.PathLike) else patterns:
        pattern = os.fspath(given)
        if Path(pattern) == STANDARD_INPUT:
            _check_pipe(STANDARD_INPUT, "standard input", once)
            found[STANDARD_INPUT] = None
            continue
        for path in _matches(pattern):
            with naming(path):
                status = path.stat()
            _check_file(path, status, once, tables)
            identity = (status.st_dev, status.st_ino)
            if path not in found and identity in names:
                message = f"`{path}` is the same file as `{names[identity]}`; it is read once."
                warnings.warn(message, SameFileWarning, stacklevel=2)
                continue
            found[path] = None
            names[identity] = path
    if not found:
        raise ConfigError("At least one file of text is needed. Received: none. Name a file or a glob.")
    return list(found)


def holds_token_ids(path: Path) -> bool:
    """Whether a file is one of TFRecords, by its name.

    Example:
        >>> from pathlib import Path, PurePath
        >>> from tf_mlm.reading.files import holds_token_ids
        >>> holds_token_ids(Path("ids.tfrecord.gz")), holds_token_ids(Path("news.jsonl.gz"))
        (True, False)
    """
    return kind_by_name(path) == "tfrecord"


def is_table(path: PurePath) -> bool:
    """Whether a file is one of Parquet, by its name."""
    return path.name.lower().endswith((".parquet", ".pq"))


def no_text(files: Sequence[Path]) -> ConfigError:
    """What to raise for files without a word."""
    return ConfigError(
        f"The files must hold text. Received: {names_of(files)}, without one word. Check what they hold."
    )


def names_of(files: Sequence[Path]) -> str:
    """The first few names, for messages."""
    names = ", ".join(str(path) for path in files[:NAMES_SHOWN])
    return names + f" and {len(files) - NAMES_SHOWN} more" * (len(files) > NAMES_SHOWN)


def _matches(pattern: str) -> list[Path]:
    if os.path.lexists(pattern):
        matches = [Path(pattern)]
    else:
        matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
        if not matches:
            raise ConfigError(
                f"A text file must exist. Received: `{pattern}`, which matches nothing. Check the path."
            )
        directories, matches = matches, [path for path in matches if not path.is_dir()]
        if not matches:
            raise ConfigError(
                f"A text file must be a file. Received: `{pattern}`, which matches only directories, such as "
                f"`{directories[0]}`. Try `{pattern}/*`."
            )
    return matches


def _check_file(path: Path, status: os.stat_result, once: bool, tables: bool) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"A text file must be a file. Received: the directory `{path}`. Try `{path}/*`.")
    if stat.S_ISFIFO(status.st_mode):
        _check_pipe(path, "a pipe", once)
        return
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(
            f"A text file must be a file. Received: `{path}`, a device or socket. Name another."
        )
    if status.st_size == 0:
        raise ConfigError(
            f"A text file must hold text. Received: `{path}`, which is empty. Leave it out, or write it "
            "again."
        )
    if (tables and is_table(path)) or holds_token_ids(path):
        with naming(path), path.open("rb"):
            pass
    else:
        _kind_of_content(path)


def _check_pipe(path: Path, what: str, once: bool) -> None:
    if not once:
        raise ConfigError(
            "This text is read more than once, so it must stand in files. "
            f"Received: `{path}`, {what}. Write it to a file first."
        )


@contextlib.contextmanager
def naming(path: PurePath) -> Iterator[None]:
    """Turns what goes wrong with a file into one line that names it."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"`{path}` is a damaged gzip file: {error}. Compress it again.") from error
    except OSError as error:
        raise ConfigError(
            f"`{path}` cannot be read: {error.strerror or error}. Check the path and its permissions."
        ) from error


def _kind_of_content(path: Path) -> str:
    with naming(path), open_file(path) as stream:
        head = stream.read(HEAD_BYTES)
    return kind_by_content(path, head, whole=len(head) < HEAD_BYTES)


def open_file(path: Path) -> IO[bytes]:
    """Its bytes, decompressed if they are gzip; of standard input too."""
    return open_stream(sys.stdin.buffer if path == STANDARD_INPUT else path.open("rb"))


def open_stream(raw: Any) -> IO[bytes]:
    """The bytes of an open file, decompressed if they are gzip."""
    stream = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    compressed = stream.peek(2)[:2] == b"\x1f\x8b"  # a pipe cannot be read twice
    return gzip.open(stream) if compressed else stream  # type: ignore[return-value]
