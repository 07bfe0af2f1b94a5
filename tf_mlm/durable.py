"""Files and directories that are whole or absent, whatever happens to the process or the machine.

Everything in the package that must survive is written here: beside its place, flushed, and renamed.

Only the standard library is imported here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHECKSUM, VALUE = "sha256", "value"
UNFINISHED = ".unfinished-"


def write_durably(path: Path, data: bytes) -> None:
    """Puts `data` into the file `path`, or leaves what was there.

    Raises:
        OSError: with `filename` set to `path`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note"
        >>> write_durably(path, b"hello")
        >>> path.read_bytes(), len(list(path.parent.iterdir()))
        (b'hello', 1)
    """
    with appearing(path) as beside, naming(path):
        beside.write_bytes(data)


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A path beside `path`, where the block makes a file or a directory that then becomes `path` in one step.

    When the block ends without an error, what it made is flushed to the disk, with all that is in it,
    and renamed, and the rename is flushed too. A file takes the place of another one; a directory needs
    its place free, or empty. After an error nothing is left. What a killed process left has a name
    that begins with a dot, and `discard_unfinished` removes it.

    Raises:
        OSError: with `filename` set to `path`, if it cannot be flushed or renamed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "folder"
        >>> with appearing(path) as beside:
        ...     beside.mkdir()
        ...     _ = (beside / "note").write_text("hello")
        ...     path.exists()
        False
        >>> (path / "note").read_text()
        'hello'
    """
    beside = path.with_name(f".{path.name}{UNFINISHED}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield beside
        with naming(path):
            for folder, _, files in os.walk(beside, topdown=False):
                for name in files:
                    _flush(Path(folder, name))
                _flush(Path(folder))
            if not beside.is_dir():
                _flush(beside)
            os.replace(beside, path)
            _flush(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            discard(beside)
        raise


def discard_unfinished(directory: Path, name: str = "*") -> None:
    """Removes what processes that were killed left beside `name`; only for what no other process writes."""
    for leftover in directory.glob(f".{name}{UNFINISHED}*"):
        with contextlib.suppress(OSError):
            discard(leftover)


def discard(path: Path) -> None:
    """Removes a file, a link or a whole directory; nothing happens if there is none.

    Raises:
        OSError: if it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def checked(value: Any) -> bytes:
    """A JSON value together with its checksum, as `read_checked` reads it from a file."""
    text = json.dumps(value, sort_keys=True)
    return json.dumps({CHECKSUM: _digest(text), VALUE: json.loads(text)}, indent=1).encode()


def write_checked(path: Path, value: Any) -> None:
    """`write_durably` of `checked(value)`.

    Raises:
        OSError: with `filename` set to `path`.
    """
    write_durably(path, checked(value))


def read_checked(path: Path) -> Any:
    """What `write_checked` wrote.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not, to the last bit of its meaning, what was written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "plan.json"
        >>> write_checked(path, {"steps": 5})
        >>> read_checked(path)
        {'steps': 5}
        >>> _ = path.write_text(path.read_text().replace("5", "6", 1))
        >>> read_checked(path)
        Traceback (most recent call last):
            ...
        ValueError: plan.json is not what was written
    """
    try:
        outer = json.loads(path.read_bytes())
        intact = set(outer) == {CHECKSUM, VALUE}
        intact = intact and outer[CHECKSUM] == _digest(json.dumps(outer[VALUE], sort_keys=True))
    except (ValueError, TypeError, RecursionError):  # no JSON, no object, or nested without end
        intact = False
    if not intact:
        raise ValueError(f"{path.name} is not what was written")
    return outer[VALUE]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Lets an `OSError` name `path`; one of a write or a flush names no file by itself."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        error.filename2 = None
        raise


def _flush(path: Path) -> None:
    """Flushes a file, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
