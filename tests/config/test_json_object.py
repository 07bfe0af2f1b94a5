"""What stands in a JSON file, or an error that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tf_mlm.config import read_json
from tf_mlm.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1\n"b": 2}', r"is not valid JSON \(line 2, column 1\)"),
        (b'{"hidden_size": ' + b"9" * 5_000 + b"}", r"cannot be read: .*digits"),
        (b"[" * 100_000, r"cannot be read: .*recursion"),
        (b'{"a": "\xff"}', r"cannot be read: .*utf-8"),
        (b"[1]", r"must hold a JSON object.*type='list'"),
        (b"", r"is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", r"is a git-lfs pointer"),
        (None, r"does not exist"),
    ],
    ids=["syntax", "digits", "depth", "encoding", "list", "empty", "pointer", "missing"],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_json(path)
    assert f"`{path}`" in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}
