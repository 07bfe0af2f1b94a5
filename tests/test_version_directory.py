"""Version directories: numbering, refusals, and appearing at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tf_mlm.errors import VersionExistsError
from tf_mlm.version_directory import new_version, newest, version_path, versions


def test_versions_are_whole_numbers_as_tf_serving_reads_them(tmp_path: Path) -> None:
    for name in ("1", "12", "007", "7", "x", "1.bak", "-3", str(2**63), ".4.unfinished-abc"):
        (tmp_path / name).mkdir()
    assert versions(tmp_path) == {number: tmp_path / str(number) for number in (-3, 1, 7, 12)}
    assert versions(tmp_path / "absent") == {}


def test_the_newest_is_the_largest_number_however_it_is_written(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for name in ("9", "010", "٣٣"):
        (tmp_path / name).mkdir()
    assert newest(tmp_path) == tmp_path / "010"
    with pytest.raises(VersionExistsError, match=r"Version 10 already exists .* write version 11"):
        version_path(tmp_path, 10)


def test_the_next_version_is_one_more_than_the_largest(tmp_path: Path) -> None:
    assert version_path(tmp_path / "new", None).name == "1"
    (tmp_path / "41").mkdir()
    assert version_path(tmp_path, None).name == "42"
    assert version_path(tmp_path, 7).name == "7"


@pytest.mark.parametrize("version", [-1, 2**63, 1.5, "3", True])
def test_a_version_that_tf_serving_would_not_find_is_refused(tmp_path: Path, version: Any) -> None:
    with pytest.raises(ValueError, match="must be a whole number from 0"):
        version_path(tmp_path, version)


def test_a_base_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="must be a directory"):
        version_path(tmp_path / "file", None)


def test_it_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "base" / "3"
    with new_version(path) as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "file").write_text("content")
        assert not path.exists()
        assert not versions(path.parent)
    assert (path / "inner" / "file").read_text() == "content"
    assert path.stat().st_mode & 0o777 == 0o755
    assert [child.name for child in path.parent.iterdir()] == ["3"]


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    def broken() -> None:
        with new_version(tmp_path / "3") as directory:
            (directory / "file").touch()
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        broken()
    assert list(tmp_path.iterdir()) == []


def test_a_version_made_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "3"

    def overtaken() -> None:
        with new_version(path):
            path.mkdir()
            (path / "theirs").touch()

    with pytest.raises(VersionExistsError, match="another process"):
        overtaken()
    assert [child.name for child in path.iterdir()] == ["theirs"]
    assert [child.name for child in tmp_path.iterdir()] == ["3"]
