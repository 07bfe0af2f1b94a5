"""The rows of a unit: an id and a text each, or what is wrong with it. A bad row costs only itself.

A row keeps its own id, or gets the path and the byte at which it starts (in a table, a list or records: its
number), which needs no counting of what stands before the unit.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import IO, Any, NamedTuple

from tf_mlm.corpus import storage
from tf_mlm.corpus.units import JSON, JSON_LINES, RECORDS, TABLE, Unit
from tf_mlm.errors import ConfigError
from tf_mlm.reading.documents import LONGEST_RUN, MOST_CHARACTERS, decoded, pieces
from tf_mlm.reading.files import naming, open_stream
from tf_mlm.reading.json_values import json_values

Id = str | int


class Row(NamedTuple):
    """A row of a corpus: its text, or else what is wrong with it."""

    id: Id
    text: str | None
    error: str | None = None


class Fields(NamedTuple):
    """How rows are read: the fields of text and id, and whether blank lines separate documents of text."""

    text: str = "text"
    id: str = "id"
    documents: bool = False


def rows_of(unit: Unit, place: str, fields: Fields) -> Iterator[Row]:
    """The rows of a unit, in their order.

    Args:
        unit: which part of which file.
        place: where that lies.
        fields: how it is read.

    Raises:
        ConfigError: for a file that cannot be read on, such as a gzip file cut short.
    """
    if unit.kind == TABLE:
        yield from _of_table(unit, place, fields)
    elif unit.kind == RECORDS:
        yield from _of_records(unit, place, fields)
    else:
        with storage.opened(place) as raw, naming(PurePath(unit.file)):
            stream = open_stream(raw)
            if unit.kind == JSON:
                yield from _of_json(unit, stream, fields)
            elif unit.kind == JSON_LINES:
                for offset, line in _lines(stream, unit):
                    if line.strip():
                        yield _of_line(unit.file, offset, line, fields)
            elif fields.documents:
                yield from _documents(stream, unit)
            else:
                for offset, line in _lines(stream, unit):
                    if (row := _text_row(unit.file, offset, line)).text != "":
                        yield row


def _lines(stream: IO[bytes], unit: Unit, *, beyond: bool = False) -> Iterator[tuple[int, bytes]]:
    """The lines that start in the unit, with the byte at which they do; with `beyond`, those behind too."""
    offset = unit.start
    if unit.start:
        stream.seek(unit.start - 1)
        offset += len(stream.readline()) - 1  # the line that began before belongs to the unit before
    whole = not unit.stop
    while whole or beyond or offset < unit.stop:
        line = stream.readline(LONGEST_RUN + 1)
        if not line:
            return
        size = len(line)
        while not line.endswith(b"\n") and len(line) > LONGEST_RUN and (more := stream.readline(LONGEST_RUN)):
            size += len(more)  # no line of text: its start is enough to say so
            if more.endswith(b"\n"):
                break
        yield offset, line
        offset += size


def _text_row(path: str, offset: int, line: bytes) -> Row:
    """A line of text; an empty one for a line without any."""
    name = f"{path}:{offset}"
    if len(line) > LONGEST_RUN:
        return Row(name, None, f"A line may have {LONGEST_RUN} bytes. Received: one with more.")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"0x{line[error.start]:02x}"
        return Row(name, None, f"Text must be UTF-8. Received: byte {byte} at {offset + error.start}.")
    return Row(name, text.removeprefix("\ufeff").strip())


def _of_line(path: str, offset: int, line: bytes, fields: Fields) -> Row:
    name, text, error = _text_row(path, offset, line)
    if error is None:
        try:
            return _of_value(name, json.loads(text or ""), fields)
        except (ValueError, RecursionError) as problem:
            error = f"A line must be one JSON value. Received: {problem}."
    return Row(name, None, error)


def _of_value(name: Id, value: Any, fields: Fields) -> Row:
    """A JSON value, or a row of a table or record as one."""
    if isinstance(value, str):
        return Row(name, value)
    if not isinstance(value, dict):
        return Row(name, None, f"A row must be an object or a string. Received: {type(value).__name__}.")
    own = value.get(fields.id)
    if isinstance(own, str | int) and not isinstance(own, bool):
        name = own
    text = value.get(fields.text)
    if isinstance(text, str):
        return Row(name, text)
    received = f"{type(text).__name__} there" if fields.text in value else f"the fields {sorted(value)[:20]}"
    return Row(name, None, f'A row must hold a string in "{fields.text}". Received: {received}.')


def _of_json(unit: Unit, stream: IO[bytes], fields: Fields) -> Iterator[Row]:
    path = Path(unit.file)
    text = decoded(path, iter(lambda: stream.read(MOST_CHARACTERS), b""))
    for number, (_, value) in enumerate(json_values(path, text, LONGEST_RUN)):
        yield _of_value(f"{unit.file}:{number}", value, fields)


def _of_table(unit: Unit, place: str, fields: Fields) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with storage.opened(place) as stream:
        try:
            file = pq.ParquetFile(stream)
            number = sum(file.metadata.row_group(group).num_rows for group in range(unit.start))
            columns = [name for name in (fields.text, fields.id) if name in file.schema_arrow.names]
            for batch in file.iter_batches(1024, row_groups=[unit.start], columns=columns):
                for value in batch.to_pylist():
                    yield _of_value(f"{unit.file}:{number}", value, fields)
                    number += 1
        except (pa.ArrowException, OSError) as error:
            raise ConfigError(f"`{unit.file}` is no whole Parquet file: {error}. Write it again.") from error


def _of_records(unit: Unit, place: str, fields: Fields) -> Iterator[Row]:
    """Records of `tf.train.Example`s with the text as bytes."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as directory:
        path = storage.at_hand(place, directory)
        with open(path, "rb") as stream:
            compression = "GZIP" if stream.read(2) == b"\x1f\x8b" else ""
        try:
            for number, record in enumerate(tf.data.TFRecordDataset(path, compression).as_numpy_iterator()):
                yield _of_record(f"{unit.file}:{number}", record, fields)
        except tf.errors.OpError as error:
            raise ConfigError(
                f"`{unit.file}` is not a whole TFRecord file: {error.message}. Write it again."
            ) from None


def _of_record(name: str, record: bytes, fields: Fields) -> Row:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        return Row(name, None, f"A record must hold a tf.train.Example. Received: {error}.")
    value: dict[str, Any] = {}
    for field, feature in features.items():
        found = getattr(feature, feature.WhichOneof("kind") or "bytes_list").value
        one = found[0] if len(found) == 1 else list(found)[:1]
        value[field] = one.decode("utf-8", "replace") if isinstance(one, bytes) else one
    return _of_value(name, value, fields)


def _documents(stream: IO[bytes], unit: Unit) -> Iterator[Row]:
    """What stands between blank lines. A document belongs to the unit in which it starts."""
    foreign = bool(unit.start) and not _follows_a_blank_line(stream, unit.start)
    block: list[str] = []
    size, first, error = 0, 0, None
    for offset, line in _lines(stream, unit, beyond=True):
        _, text, problem = _text_row(unit.file, offset, line)
        if problem is None and not text:
            if block or error:
                yield from _pieces(unit.file, first, block, error)
            block, size, foreign, error = [], 0, False, None
            if unit.stop and offset >= unit.stop:
                return
        elif not foreign:
            if not block and not error:
                if unit.stop and offset >= unit.stop:
                    return
                first = offset
            elif size + len(line) > MOST_CHARACTERS and not error:
                yield from _pieces(unit.file, first, block, None)
                block, size, first = [], 0, offset
            error = error or problem
            block.append(line.decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\r\n"))
            size += len(line)
    if block or error:
        yield from _pieces(unit.file, first, block, error)


def _pieces(path: str, first: int, block: list[str], error: str | None) -> Iterator[Row]:
    if error:
        yield Row(f"{path}:{first}", None, error)
        return
    for piece in pieces("\n".join(block).strip()):
        yield Row(f"{path}:{first}", piece)


def _follows_a_blank_line(stream: IO[bytes], start: int) -> bool:
    """Whether the first line that starts at or behind `start` comes after a blank one."""
    begin, before = start - 1, b""
    while begin and b"\n" not in before:
        end, begin = begin, max(0, begin - 65536)
        stream.seek(begin)
        before = stream.read(end - begin)
    stream.seek(begin + before.rfind(b"\n") + 1)
    return _text_row("", 0, stream.readline()).text == ""
