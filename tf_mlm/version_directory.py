"""Version directories that appear complete or not at all.

TF-Serving picks up every child of a base path whose name is a whole number, at any moment. So an
export is written beside, under a name that is none, brought to disk, and renamed in one step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tf_mlm.durable import appearing
from tf_mlm.errors import VersionExistsError

_NUMBER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_INT64 = range(-(2**63), 2**63)


def numbered(base_path: Path) -> list[tuple[int, Path]]:
    """The children of a base path whose name is a whole number as TF-Serving reads one, by that number.

    A sign, blanks around it and leading zeros are allowed. Several may spell one number: the
    lexicographically last, which stands last here, is served.

    Raises:
        OSError, ValueError: when the base path cannot be listed.
    """
    names = sorted(child.name for child in base_path.iterdir() if _NUMBER.fullmatch(child.name))
    found = [(int(name), base_path / name) for name in names if int(name) in _INT64]
    return sorted(found, key=lambda each: each[0])


def versions(base_path: Path) -> dict[int, Path]:
    """The versions under a base path and their directories, ascending; none where there is no directory."""
    return dict(numbered(base_path)) if base_path.is_dir() else {}


def newest(base_path: Path) -> Path | None:
    """The directory of the largest version, if there is one."""
    return next(reversed(versions(base_path).values()), None)


def version_path(base_path: Path, version: int | None) -> Path:
    """Where a new version goes: `version`, or one more than the largest there is.

    Raises:
        ValueError: when the version is no number TF-Serving would find.
        VersionExistsError: when it is already there.
        NotADirectoryError: when the base path is a file.
    """
    if base_path.exists() and not base_path.is_dir():
        raise NotADirectoryError(
            f"The base path must be a directory, to put versions into. Received: the file `{base_path}`."
        )
    taken = versions(base_path)
    following = max(taken, default=0) + 1
    version = following if version is None else version
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version < 2**63:
        raise ValueError(
            f"A version must be a whole number from 0 to 2^63 - 1. Received: {version!r}. "
            "Leave it out to get the next free one."
        )
    if version in taken:
        raise VersionExistsError(
            f"Version {version} already exists under `{base_path}` and stays as it is. "
            f"Leave the version out to write version {following}, or remove the old one first."
        )
    return base_path / str(version)


@contextmanager
def new_version(path: Path) -> Iterator[Path]:
    """A directory to write into, which becomes `path` when the block ends without an error.

    Raises:
        VersionExistsError: when somebody else made `path` meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as unfinished:
        unfinished.mkdir()
        unfinished.chmod(0o755)  # whatever the umask: a server often runs as another user
        yield unfinished
        if path.exists():
            raise VersionExistsError(f"`{path}` was made by another process meanwhile and stays as it is.")
