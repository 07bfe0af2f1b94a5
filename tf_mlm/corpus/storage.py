"""Where files lie: on a disk, or in an object store that `fsspec` reaches. What is written appears whole.

A path with `://` in it belongs to `fsspec`; every other one is of the local disk. On a disk a file is written
beside and renamed; to a store it goes as one object, which nobody sees before it is complete.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tf_mlm.durable import appearing, discard_unfinished, write_durably
from tf_mlm.errors import ConfigError
from tf_mlm.reading.files import find_files

EXTRA = "pip install 'tf-mlm[corpus]'"


def is_remote(path: str) -> bool:
    """Whether `fsspec` is to reach it.

    Example:
        >>> is_remote("s3://bucket/news.jsonl"), is_remote("news.jsonl")
        (True, False)
    """
    return "://" in path


def find(patterns: Sequence[str]) -> list[str]:
    """The files behind paths, globs and addresses, each once and in a fixed order.

    Raises:
        ConfigError: if one matches nothing, cannot be read, or holds no text as far as can be told.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        names = _matches(pattern) if is_remote(pattern) else map(str, find_files(pattern, tables=True))
        found.update(dict.fromkeys(names))
    if not found:
        raise ConfigError("At least one file of text is needed. Received: none. Name a file or a glob.")
    return list(found)


def state(path: str) -> list[Any]:
    """Size in bytes, and what changes when the file does."""
    if not is_remote(path):
        status = os.stat(path)
        return [status.st_size, str(status.st_mtime_ns)]
    with telling(path):
        system, inside = _system(path)
        facts = system.info(inside)
    changes = (facts.get(name) for name in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created"))
    return [int(facts["size"] or 0), str(next((value for value in changes if value is not None), ""))]


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, as they lie there, at any place."""
    with telling(path), _open(path) if is_remote(path) else open(path, "rb") as stream:
        yield stream


def at_hand(path: str, directory: str) -> str:
    """The file on the local disk: itself, or a copy in `directory`; for readers that know no stores."""
    if not is_remote(path):
        return path
    copy = os.path.join(directory, path.rpartition("/")[2])
    with telling(path):
        system, inside = _system(path)
        system.get_file(inside, copy)
    return copy


class Output:
    """The directory that a job writes.

    Args:
        path: of the disk, or an address.

    Example:
        >>> import tempfile
        >>> output = Output(tempfile.mkdtemp() + "/scores")
        >>> output.write("plan.json", b"{}")
        >>> output.names(), output.read("plan.json")
        ({'plan.json'}, b'{}')
    """

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/") if is_remote(path) else os.path.abspath(path)

    def names(self) -> set[str]:
        """What lies in it; nothing where it does not exist."""
        if not is_remote(self.path):
            return set(os.listdir(self.path)) if os.path.isdir(self.path) else set()
        with telling(self.path):
            system, inside = _system(self.path)
            system.invalidate_cache()
            try:
                found = system.ls(inside, detail=False)
            except FileNotFoundError:
                return set()
        return {name.rstrip("/").rpartition("/")[2] for name in found}

    def holds(self, name: str) -> bool:
        """Whether a file of this name is there, whole."""
        if not is_remote(self.path):
            return os.path.exists(os.path.join(self.path, name))
        with telling(self.path):
            system, inside = _system(f"{self.path}/{name}")
            system.invalidate_cache()
            return bool(system.exists(inside))

    def read(self, name: str) -> bytes:
        """All of a file."""
        with opened(f"{self.path}/{name}") as stream:
            return stream.read()

    def write(self, name: str, data: bytes) -> None:
        """Puts a file there, whole."""
        if is_remote(self.path):
            with telling(self.path):
                system, inside = _system(f"{self.path}/{name}")
                system.pipe_file(inside, data)
            return
        os.makedirs(self.path, exist_ok=True)
        write_durably(Path(self.path, name), data)

    @contextlib.contextmanager
    def appearing(self, name: str) -> Iterator[Path]:
        """A local path where the block makes a file, which appears under `name` if the block succeeds."""
        if not is_remote(self.path):
            os.makedirs(self.path, exist_ok=True)
            with appearing(Path(self.path, name)) as beside:
                yield beside
            return
        with tempfile.TemporaryDirectory() as directory:
            local = Path(directory, name)
            yield local
            with telling(self.path):
                system, inside = _system(f"{self.path}/{name}")
                system.put_file(str(local), inside)

    def tidy(self) -> None:
        """Removes what killed processes left half written; only when no part is missing any more."""
        if not is_remote(self.path):
            discard_unfinished(Path(self.path))


@contextlib.contextmanager
def telling(path: str) -> Iterator[None]:
    """Turns what a store says into one line that names the path."""
    try:
        yield
    except (ConfigError, FileNotFoundError):
        raise
    except ImportError as error:
        raise ConfigError(
            f"`{path}` needs a package that is not installed: {error}. Install it ({EXTRA}, and `s3fs` for "
            "s3://, `gcsfs` for gs://, `adlfs` for abfs://)."
        ) from error
    except ValueError as error:
        if is_remote(path) and "rotocol" in str(error):
            raise ConfigError(f"`{path}` is no address that fsspec knows: {error}.") from error
        raise
    except Exception as error:
        if not is_remote(path):
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"`{path}` cannot be reached: {said}. Check the address, and the credentials in the "
            "environment of every worker."
        ) from error


def _system(path: str) -> tuple[Any, str]:
    import fsspec.core

    return fsspec.core.url_to_fs(path)  # type: ignore[no-any-return]


def _open(path: str) -> Any:
    system, inside = _system(path)
    return system.open(inside, "rb", block_size=8 << 20)


def _matches(pattern: str) -> list[str]:
    with telling(pattern):
        system, inside = _system(pattern)
        magic = any(character in inside for character in "*[")
        try:
            names = sorted(system.glob(inside)) if magic else [inside] * system.exists(inside)
            names = [name for name in names if not system.isdir(name)]
        except FileNotFoundError:
            names = []
    if not names:
        raise ConfigError(
            f"A text file must exist. Received: `{pattern}`, which matches nothing. Check the address."
        )
    return [system.unstrip_protocol(name) for name in names]
