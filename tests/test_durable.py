"""Files that are whole or absent."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from tf_mlm.durable import discard, read_checked, write_checked, write_durably


def test_a_write_that_fails_leaves_what_was_there_and_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "note"
    write_durably(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_durably(path, bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["note"]


def test_no_bit_of_a_checked_file_can_change_its_meaning(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    value = {"steps": 12, "names": ["a", None], "loss": 0.1}
    write_checked(path, value)
    whole = path.read_bytes()
    assert read_checked(path) == value
    for place in range(len(whole)):
        for bit in (0, 2, 5):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                assert read_checked(path) == value  # white space is none of its meaning
            except ValueError as error:
                assert "plan.json" in str(error)  # noqa: PT017


@pytest.mark.parametrize("value", [None, [], {}, "x", 3, {"sha256": 1, "value": []}, {"value": {}}])
def test_other_json_is_not_what_was_written(tmp_path: Path, value: object) -> None:
    path = tmp_path / "plan.json"
    for text in (json.dumps(value), json.dumps(value)[:-1], "[" * 100_000, "\x00"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"plan\.json is not what was written"):
            read_checked(path)


def test_discard_takes_files_links_and_directories_but_not_what_a_link_names(tmp_path: Path) -> None:
    (tmp_path / "full" / "deep").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "full")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling", "file", "missing"):
        discard(tmp_path / name)
    assert os.listdir(tmp_path) == ["full"]
    discard(tmp_path / "full")
    assert not os.listdir(tmp_path)
