"""Rows of units: however a file is cut, each row and each document belongs to one unit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tf_mlm.corpus.rows import Fields, Row, rows_of
from tf_mlm.corpus.units import units_of
from tf_mlm.errors import ConfigError
from tf_mlm.reading.documents import read_documents

LINES = (
    "one\n\ntwo words\r\n  \n"
    + "three\u2028still three\nfour \u00e4\u4e2d\n\n\n\u00a0\n"
    + "five\nsix six six six six\nseven"
)


PLAIN = Fields()


def read(path: Path, unit_bytes: int, fields: Fields = PLAIN) -> list[Row]:
    size = path.stat().st_size
    units = units_of(path.name, str(path), size, unit_bytes, text_field=fields.text)
    return [row for unit in units for row in rows_of(unit, str(path), fields)]


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("documents", [False, True])
def test_every_row_belongs_to_one_unit_wherever_the_cuts_are(
    tmp_path: Path, documents: bool, end: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((LINES + end).encode())
    fields = Fields(documents=documents)
    whole = read(path, 1 << 20, fields)
    assert [row.text for row in whole] == list(read_documents([path], line_by_line=not documents))
    for unit_bytes in range(1, 60):
        assert read(path, unit_bytes, fields) == whole, unit_bytes


def test_an_id_is_the_rows_own_or_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": "x", "text": "one"}\n"two"\n{"id": 7, "text": "three"}\n{"id": true, "text": "4"}\n'
    )
    for unit_bytes in (1, 20, 1000):
        assert [row[:2] for row in read(path, unit_bytes)] == [
            ("x", "one"),
            ("a.jsonl:27", "two"),
            (7, "three"),
            ("a.jsonl:60", "4"),
        ]


def test_a_bad_row_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        b'{"text": "one"}',
        b"{broken",
        b'{"text": 3}',
        b"[1]",
        b'{"text": "caf\xe9"}',
        b'{"text": "six"}',
    ]
    path.write_bytes(b"\n".join(lines))
    found = read(path, 10)
    assert [row.text for row in found] == ["one", None, None, None, None, "six"]
    assert [row.error is None for row in found] == [True, False, False, False, False, True]
    assert found[4].id == "a.jsonl:40"
    assert "byte 0xe9 at 53" in str(found[4].error)


def test_lists_and_gzip_are_read_whole(tmp_path: Path) -> None:
    listed, zipped = tmp_path / "a.json", tmp_path / "b.jsonl.gz"
    listed.write_text(json.dumps([{"text": "one"}, {"id": "x", "text": "two"}], indent=1))
    zipped.write_bytes(gzip.compress(b'{"text": "one"}\n{"text": "two"}\n'))
    assert [row[:2] for row in read(listed, 5)] == [("a.json:0", "one"), ("x", "two")]
    assert [row[:2] for row in read(zipped, 5)] == [("b.jsonl.gz:0", "one"), ("b.jsonl.gz:16", "two")]
    zipped.write_bytes(gzip.compress(b"x" * 1000)[:-9])
    with pytest.raises(ConfigError, match=r"b.jsonl.gz` is a damaged gzip file.*Compress it again"):
        read(zipped, 5)


def test_row_groups_of_a_table(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    texts = ["one", None, "three", "four", "five"]
    pq.write_table(pa.table({"body": texts, "n": [1, 2, 3, 4, 5]}), path, row_group_size=2)
    found = read(path, 1, Fields(text="body"))
    assert [row[:2] for row in found] == [(f"a.parquet:{n}", text) for n, text in enumerate(texts)]
    assert "NoneType" in str(found[1].error)
    assert [row.id for row in read(path, 1, Fields(text="body", id="n"))] == [1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match=r"columns \['body', 'n'\], without `text`"):
        read(path, 1)
    with pytest.raises(ConfigError, match="`n` of int64"):
        read(path, 1, Fields(text="n"))


def test_records_of_examples(tmp_path: Path) -> None:
    import tensorflow as tf

    def record(**features: bytes) -> bytes:
        lists = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            for name, value in features.items()
        }
        return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()

    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for data in (record(text=b"one", id=b"x"), record(other=b"two"), b"\xff\xff", record(text=b"four")):
            writer.write(data)
    found = read(path, 1)
    assert [row[:2] for row in found] == [
        ("x", "one"),
        ("a.tfrecord:1", None),
        ("a.tfrecord:2", None),
        ("a.tfrecord:3", "four"),
    ]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ConfigError, match="not a whole TFRecord file"):
        read(path, 1)
