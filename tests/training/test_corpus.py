"""Files to documents, and every kind of file that is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tf_mlm.config import ConfigError
from tf_mlm.training import corpus
from tf_mlm.training.corpus import find_files, is_held_out, read_documents

TEXT = "one line\nanother\n\n\n  \nsecond document\r\n"
DOCUMENTS = ["one line\nanother", "second document"]


def _write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_blank_lines_part_documents(tmp_path: Path) -> None:
    assert list(read_documents([_write(tmp_path / "a.txt", TEXT)])) == DOCUMENTS


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    assert list(read_documents([_write(tmp_path / "a.txt", gzip.compress(TEXT.encode()))])) == DOCUMENTS


@pytest.mark.parametrize("compress", [False, True])
def test_json_lines(tmp_path: Path, compress: bool) -> None:
    data = "".join(json.dumps({"body": text, "id": 1}) + "\n" for text in DOCUMENTS).encode()
    name = "a.jsonl.gz" if compress else "a.jsonl"
    path = _write(tmp_path / name, gzip.compress(data) if compress else data)
    assert list(read_documents([path], text_field="body")) == DOCUMENTS


def test_globs_are_sorted_and_files_taken_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    paths = [_write(tmp_path / name, "x") for name in ("b.txt", "a.txt", "deep/c.txt")]
    found = find_files([tmp_path / "**" / "*.txt", paths[0]])
    assert [path.name for path in found] == ["a.txt", "b.txt", "c.txt"]


def test_long_text_is_cut_at_white_space_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "MOST_CHARACTERS", 50)
    words = [f"word{index}" for index in range(100)]
    in_one_line = _write(tmp_path / "a.txt", " ".join(words))
    in_lines = _write(tmp_path / "b.txt", "\n".join(words))
    in_json = _write(tmp_path / "c.jsonl", json.dumps({"text": " ".join(words)}))
    for path in (in_one_line, in_lines, in_json):
        documents = list(read_documents([path]))
        assert len(documents) > 5
        assert " ".join(documents).split() == words


def test_characters_across_chunks_are_not_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "MOST_CHARACTERS", 7)
    text = "äöü 漢字 🙂🙂 ß"
    assert " ".join(read_documents([_write(tmp_path / "a.txt", text)])).split() == text.split()


def test_the_split_depends_on_content_alone() -> None:
    texts = [f"document {index}" for index in range(4000)]
    held = {text for text in texts if is_held_out(text, 0.1)}
    assert held == {text for text in reversed(texts) if is_held_out(text, 0.1)}
    assert 320 < len(held) < 480
    assert held < {text for text in texts if is_held_out(text, 0.2)}
    assert all(is_held_out(text, 1.0) for text in texts)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", r"which is empty\. Leave it out"),
        ("a.txt", b"text\nPK\x03\x04\x00\x00", r"is binary: line 2 holds a zero byte"),
        ("a.txt", b"fine\ncaf\xe9\n", r"line 2, byte 0xe9"),
        ("a.txt", b"x" * (corpus.LONGEST_RUN + corpus.MOST_CHARACTERS), r"line 1 runs on"),
        ("a.gz", gzip.compress(b"text" * 1000)[:40], r"damaged gzip"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"line 2 \(column 10: Expecting value\)\. Mend"),
        ("a.jsonl", b'{"text": "a b"}\n' + b"[" * 100_000, r"line 2 \(maximum recursion.*\. Mend"),
        ("a.jsonl", b'{"text": "a b", "n": ' + b"9" * 5000 + b"}", r"line 1 \(Exceeds the limit.*\. Mend"),
        (
            "a.jsonl",
            b'{"text": "' + b"a b " * (corpus.LONGEST_RUN // 3) + b'"}',
            r"A JSON line may have.*line 1",
        ),
        ("a.jsonl", b'{"text": null}\n', r'line 1, NoneType in "text"'),
        ("a.jsonl", b'{"body": "a"}\n', r"line 1, the fields \['body'\]\. Name the field"),
        ("a.jsonl", b"[1]\n", r"line 1, list"),
    ],
    ids=[
        "empty",
        "binary",
        "not UTF-8",
        "one run",
        "torn gzip",
        "torn json",
        "deep json",
        "long number",
        "long json",
        "no string",
        "other field",
        "no object",
    ],
)
def test_what_is_not_text_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = _write(tmp_path / name, data)
    with pytest.raises(ConfigError, match=message) as caught:
        list(read_documents(find_files([path])))
    assert str(path) in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="matches nothing"):
        find_files([tmp_path / "no*.txt"])
    with pytest.raises(ConfigError, match="the directory"):
        find_files([tmp_path])
    with pytest.raises(ConfigError, match="at least one file"):
        find_files([])
