"""Files to documents, and every kind of file that is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
from pathlib import Path

import pytest

from tf_mlm.errors import ConfigError, SameFileWarning
from tf_mlm.reading import documents as reader
from tf_mlm.reading.documents import read_documents, read_texts
from tf_mlm.reading.files import STANDARD_INPUT, find_files

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
    monkeypatch.setattr(reader, "MOST_CHARACTERS", 50)
    words = [f"word{index}" for index in range(100)]
    in_one_line = _write(tmp_path / "a.txt", " ".join(words))
    in_lines = _write(tmp_path / "b.txt", "\n".join(words))
    in_json = _write(tmp_path / "c.jsonl", json.dumps({"text": " ".join(words)}))
    for path in (in_one_line, in_lines, in_json):
        documents = list(read_documents([path]))
        assert len(documents) > 5
        assert " ".join(documents).split() == words


def test_characters_across_chunks_are_not_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_CHARACTERS", 7)
    text = "äöü 漢字 🙂🙂 ß"
    assert " ".join(read_documents([_write(tmp_path / "a.txt", text)])).split() == text.split()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", r"which is empty\. Leave it out"),
        ("a.txt", b"text\nPK\x03\x04\x00\x00", r"is binary: line 2 holds a zero byte"),
        ("a.txt", b"fine\ncaf\xe9\n", r"line 2, byte 0xe9"),
        ("a.txt", b"x" * (reader.LONGEST_RUN + reader.MOST_CHARACTERS), r"line 1 runs on"),
        ("a.gz", gzip.compress(b"text" * 1000, mtime=0)[:40], r"damaged gzip"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"line 2 \(it has no end\)\. Mend"),
        ("a.jsonl", b'{"text": "a b"}\n' + b"[" * 100_000, r"line 2 \(maximum recursion.*\. Mend"),
        ("a.jsonl", b'{"text": "a b", "n": ' + b"9" * 5000 + b"}", r"line 1 \(Exceeds the limit.*\. Mend"),
        (
            "a.jsonl",
            b'{"text": "' + b"a b " * (reader.LONGEST_RUN // 3) + b'"}',
            r"A JSON value may have.*line 1",
        ),
        ("a.jsonl", b'{"text": null}\n', r'line 1, NoneType in "text"'),
        ("a.jsonl", b'{"body": "a"}\n', r"line 1, the fields \['body'\]\. Name the field"),
        ("a.jsonl", b"[[1]]\n", r"line 1, list"),
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
    with pytest.raises(ConfigError, match="At least one file"):
        find_files([])


# Line ends and documents.


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    odd = "".join(chr(point) for point in (0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029, 0x0D))
    lines = [f"a{character}b" for character in odd]
    path = _write(tmp_path / "a.txt", "\r\n".join(lines))
    assert list(read_documents([path], line_by_line=True)) == lines
    assert list(read_texts(path)) == lines
    assert list(read_documents([path])) == ["\n".join(lines)]


def test_line_by_line(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.txt", TEXT)
    assert list(read_documents([path], line_by_line=True)) == ["one line", "another", "second document"]
    json_path = _write(tmp_path / "a.jsonl", json.dumps({"text": "one\ntwo"}))
    assert list(read_documents([json_path], line_by_line=True)) == ["one\ntwo"]


def test_texts_are_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_CHARACTERS", 20)
    monkeypatch.setattr(reader, "LONGEST_RUN", 2000)
    text = "word " * 100
    assert list(read_texts(_write(tmp_path / "a.txt", text))) == [text.strip()]
    assert list(read_texts(_write(tmp_path / "a.jsonl", json.dumps(text)))) == [text.strip()]
    with pytest.raises(ConfigError, match="line 2 runs on for more than 2000 characters"):
        list(read_texts(_write(tmp_path / "b.txt", "x\n" + text * 10)))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.data", "a.txt", "a"])
@pytest.mark.parametrize(
    "data",
    [
        "".join(json.dumps({"text": text}) + "\r\n\r\n" for text in DOCUMENTS),
        json.dumps([{"text": text, "id": 7} for text in DOCUMENTS]),
        json.dumps([{"id": 7, "text": text} for text in DOCUMENTS], indent=2),
        json.dumps(DOCUMENTS, indent=1),
        "\n".join(json.dumps({"text": text}, indent=2) for text in DOCUMENTS),
    ],
    ids=["lines", "list", "indented list", "strings", "joined objects"],
)
def test_json_is_read_as_documents_whatever_its_name(
    tmp_path: Path, data: str, name: str, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path / name, (mark + data).encode())
    packed = _write(tmp_path / f"{name}.gz", gzip.compress((mark + data).encode()))
    assert list(read_documents(find_files([path, packed]))) == DOCUMENTS * 2
    monkeypatch.setattr(reader, "MOST_CHARACTERS", 64)
    assert " ".join(read_documents([path])).split() == " ".join(DOCUMENTS).split()


def test_one_json_object_is_one_document(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.json", json.dumps({"id": 1, "text": "the cat"}, indent=4))
    assert list(read_documents([path])) == ["the cat"]


@pytest.mark.parametrize(
    "text",
    [
        "[1] A reference.\n[2] Another.",
        "{{Infobox cat}}\nThe cat sat.",
        "[link](url) and more",
        '["Quoted," he said.]',
        '"A quote."',
        "{} braces",
        "[]",
    ],
)
def test_prose_with_brackets_is_no_json(tmp_path: Path, text: str) -> None:
    assert list(read_documents(find_files([_write(tmp_path / "a.txt", text)]))) == [text]


@pytest.mark.parametrize("data", ["[]", "\n", "[ ]\n[]"])
def test_json_without_documents(tmp_path: Path, data: str) -> None:
    path = _write(tmp_path / "a.json", data)
    with pytest.raises(ConfigError, match=r"must hold text.*a\.json, without one word"):
        list(read_documents([path]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"data": [{"text": "a"}]}', r"line 1, the fields \['data'\]"),
        ('[{"text": "a"}\n{"text": "b"}]', r"line 2 \(column 1: Expecting ',' or '\]'\)"),
        ('[{"text": "a"},\n', r"line 2 \(column 1: Expecting value\)"),
        ('[\n{"text": "a"}\n', r"line 1 \(the list has no end\)"),
        ('[{"text": "a"},\n{"text": 5}]', r'line 2, int in "text"'),
        ('{"text": "a"}\ntext', r"line 2 \(column 1: Expecting value\)"),
        ('{"text": "a\n{"text": "b"}', r"line 1 \(column 12: Invalid control character"),
    ],
)
def test_json_that_is_none_is_refused_by_line(tmp_path: Path, data: str, message: str) -> None:
    path = _write(tmp_path / "a.json", data)
    with pytest.raises(ConfigError, match=message) as caught:
        list(read_documents([path]))
    assert str(path) in str(caught.value)


# Files that hold no text.


@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz", "A.PARQUET", "a.html", "a.xml", "a.pdf", "a.docx"])
def test_names_of_other_formats_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, "some text")
    with pytest.raises(ConfigError, match=r"by its name .*\. (Write its column|Extract its text)") as caught:
        find_files([path])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"PAR1\x15\x04", "Parquet table. Write its column of text as JSON lines"),
        (b"%PDF-1.7\n", "a PDF. Extract its text first"),
        (b"PK\x03\x04", "zip archive.*Unpack it first"),
        (b"BZh91AY", r"compressed file \(bzip2\). Unpack"),
        (b"\x28\xb5\x2f\xfd", r"compressed file \(zstd\)"),
        (b"SQLite format 3\0", "a database"),
        (b"x" * 257 + b"ustar", "a tar archive"),
        (b"\n <!DOCTYPE html>\n<html>", "HTML. Extract"),
        (b'<?xml version="1.0"?>', "XML. Extract"),
        ("text".encode("utf-16"), "UTF-16. Convert it to UTF-8, for example with `iconv -f UTF-16"),
        ("text".encode("utf-32"), "UTF-32"),
        ("text".encode("utf-16-le"), "holds a zero byte.*iconv -f UTF-16"),
        (gzip.compress(b"text", mtime=0), "gzip inside gzip"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a"])
@pytest.mark.parametrize("compress", [False, True])
def test_content_of_other_formats_is_refused_with_what_to_do(
    tmp_path: Path, head: bytes, message: str, name: str, compress: bool
) -> None:
    if message == "gzip inside gzip":
        head = head if compress else gzip.compress(head)
    path = _write(tmp_path / name, gzip.compress(head) if compress else head)
    with pytest.raises(ConfigError, match=message) as caught:
        list(read_documents(find_files([path])))
    assert str(path) in str(caught.value)


def test_token_ids_are_no_text(tmp_path: Path) -> None:
    path = _write(tmp_path / "ids.tfrecord-00000-of-00002", b"\x01")
    assert find_files([path]) == [path]
    with pytest.raises(ConfigError, match="holds token ids by its name"):
        list(read_documents([path]))


# Paths.


def test_the_same_file_under_two_names_is_read_once(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.txt", "x")
    link, hard = tmp_path / "b.txt", tmp_path / "c.txt"
    link.symlink_to(path)
    hard.hardlink_to(path)
    with pytest.warns(SameFileWarning, match=r"b\.txt` is the same file as `.*a\.txt`; it is read once"):
        assert find_files([tmp_path / "*.txt"]) == [path]


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    for name in ("loop.txt", "gone.txt", "*op.txt"):
        with pytest.raises(ConfigError, match=r"(loop|gone)\.txt` cannot be read: .*Check the path"):
            find_files([tmp_path / name])
    with pytest.raises(ConfigError, match=r"matches only directories.*Try"):
        find_files([tmp_path / "fold*"])
    with pytest.raises(ConfigError, match="a device or socket"):
        find_files(["/dev/zero"])


def test_pipes_and_standard_input_are_read_where_once_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, what in ((pipe, "a pipe"), (STANDARD_INPUT, "standard input")):
        with pytest.raises(ConfigError, match=rf"read more than once.*{what}\. Write it to a file first"):
            find_files([path])
        assert find_files([path], once=True) == [path]
    data = gzip.compress(TEXT.encode())
    writer = threading.Thread(target=pipe.write_bytes, args=[data])
    writer.start()
    assert list(read_documents([pipe])) == DOCUMENTS
    writer.join()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "from a pipe"}\n')))
    assert list(read_documents([STANDARD_INPUT])) == ["from a pipe"]


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.txt", "one\n\n" * 1000)
    documents = read_documents([path])
    next(documents)
    with path.open("a") as stream:
        stream.write("two")
    with pytest.raises(ConfigError, match=r"a\.txt`, which changed\. Start again"):
        list(documents)
