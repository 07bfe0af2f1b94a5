"""Files that are whole or absent, whatever happens to the process or the machine that writes them.

Only the standard library is imported here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHECKSUM, VALUE = "sha256", "value"


def write_durably(path: Path, data: bytes) -> None:
    """Puts `data` into `path`, or leaves what was there.

    It is written beside, flushed to the disk and renamed, and the rename is flushed too.

    Raises:
        OSError: with `filename` set to `path`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note"
        >>> write_durably(path, b"hello")
        >>> path.read_bytes(), len(list(path.parent.iterdir()))
        (b'hello', 1)
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file to: behind the block it is flushed and takes the place of `path`.

    After an error in the block, what was there stays and nothing else does.

    Raises:
        OSError: with `filename` set to `path`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note"
        >>> with replacing(path) as temporary:
        ...     _ = temporary.write_text("hello")
        >>> path.read_text()
        'hello'
    """
    with naming(path):
        temporary = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
        try:
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        flush_directory(path.parent)


def flush_directory(path: Path) -> None:
    """Flushes a directory to the disk, and so the names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Removes a file, a link or a whole directory; nothing happens if there is none.

    Raises:
        OSError: if it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_checked(path: Path, value: Any) -> None:
    """`write_durably` of a JSON value together with its checksum.

    Raises:
        OSError: with `filename` set to `path`.
    """
    text = json.dumps(value, sort_keys=True)
    write_durably(path, json.dumps({CHECKSUM: _digest(text), VALUE: json.loads(text)}, indent=1).encode())


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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
