"""Files that are whole or absent."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tf_mlm.durable import (
    appearing,
    discard,
    discard_unfinished,
    read_checked,
    write_checked,
    write_durably,
)

# Writes `new` into sys.argv[1] as a file, or as a directory of two files; with a number behind it, it is
# killed before the call of that number to the operating system. It prints the calls.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from tf_mlm.durable import appearing, discard, write_durably

path, kind, *last = sys.argv[1:]
calls = []

def watched(name, function, subject):
    def call(*arguments):
        if last and len(calls) == int(last[0]):
            os.kill(os.getpid(), signal.SIGKILL)
        found = subject(*arguments)
        calls.append(name + " " + found.name.partition(".unfinished-")[0].lstrip("."))
        return function(*arguments)
    return call

os.fsync = watched("fsync", os.fsync, lambda descriptor: Path(os.readlink(f"/proc/self/fd/{descriptor}")))
os.replace = watched("replace", os.replace, lambda source, target: Path(target))
if kind == "file":
    write_durably(Path(path), b"new")
else:
    with appearing(Path(path)) as beside:
        (beside / "inner").mkdir(parents=True)
        (beside / "inner" / "note").write_bytes(b"new")
        (beside / "plan").write_bytes(b"new")
print(",".join(calls))
"""
CALLS = {
    "file": ["fsync target", "replace target", "fsync base"],
    "directory": [
        *("fsync note", "fsync inner", "fsync plan", "fsync target"),
        *("replace target", "fsync base"),
    ],
}


def _run(base: Path, kind: str, *last: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", PROGRAM, str(base / "target"), kind, *last]
    return subprocess.run(program, check=False, capture_output=True, text=True)


def _held(target: Path) -> dict[str, bytes]:
    if target.is_file():
        return {"": target.read_bytes()}
    files = (path for path in target.rglob("*") if path.is_file())
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", CALLS)
def test_each_file_and_each_name_is_flushed_before_and_after_the_rename(tmp_path: Path, kind: str) -> None:
    (tmp_path / "base").mkdir()
    done = _run(tmp_path / "base", kind)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().split(",") == CALLS[kind]


@pytest.mark.parametrize(
    ("kind", "last"), [(kind, last) for kind, calls in CALLS.items() for last in range(len(calls))]
)
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path, kind: str, last: int) -> None:
    if kind == "file":
        (tmp_path / "target").write_bytes(b"old")
        old, new = {"": b"old"}, {"": b"new"}
    else:
        old, new = {}, {"inner/note": b"new", "plan": b"new"}
    assert _run(tmp_path, kind, str(last)).returncode == -signal.SIGKILL
    renamed = last > CALLS[kind].index("replace target")
    assert _held(tmp_path / "target") == (new if renamed else old)
    # What is left can be told by its name, and removed.
    (tmp_path / ".other.unfinished-1").touch()
    discard_unfinished(tmp_path, "target")
    left = {".other.unfinished-1"} | ({"target"} if kind == "file" or renamed else set())
    assert set(os.listdir(tmp_path)) == left


def test_an_error_leaves_nothing_and_a_full_directory_is_not_replaced(tmp_path: Path) -> None:
    def broken() -> None:
        with appearing(tmp_path / "target") as beside:
            beside.mkdir()
            raise RuntimeError("broken")

    def overtaken() -> None:
        with appearing(tmp_path / "target") as beside:
            beside.mkdir()
            (tmp_path / "target").mkdir()
            (tmp_path / "target" / "theirs").touch()

    with pytest.raises(RuntimeError, match="broken"):
        broken()
    assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match="not empty") as caught:
        overtaken()
    assert caught.value.filename == str(tmp_path / "target")
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "theirs"]


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
