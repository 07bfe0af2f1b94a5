"""A file as units of work: byte ranges of lines, row groups of Parquet, or the whole of what cannot be cut.

A unit is known without reading what stands before it, so any worker can begin anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import NamedTuple

from tf_mlm.corpus import storage
from tf_mlm.errors import ConfigError
from tf_mlm.reading.file_kind import HEAD_BYTES, kind_by_content, kind_by_name
from tf_mlm.reading.files import is_table, naming, open_stream

TEXT, JSON_LINES, JSON, TABLE, RECORDS = "text", "json lines", "json", "table", "records"


class Unit(NamedTuple):
    """What one worker does at a time.

    Attributes:
        file: the path, as it was found.
        kind: how it is read.
        start, stop: of lines, the bytes in which its lines or documents start; of a table, its row groups;
            0 and 0 for a whole file.
        size: its share of the file, in bytes.
    """

    file: str
    kind: str
    start: int
    stop: int
    size: int


def units_of(path: str, place: str, size: int, unit_bytes: int, *, text_field: str) -> Iterator[Unit]:
    """The units of a file.

    Args:
        path: what the file is called.
        place: where it lies.
        size: its bytes.
        unit_bytes: the most bytes of a unit, where one can choose.
        text_field: the field that must hold the text.

    Raises:
        ConfigError: for a file that holds no text, or none in that field, as far as its beginning tells.
    """
    if is_table(PurePath(path)):
        yield from _row_groups(path, place, text_field)
        return
    kind, compressed = _kind(path, place, text_field)
    if compressed or kind in (JSON, RECORDS):
        yield Unit(path, kind, 0, 0, size)
        return
    for start in range(0, size, unit_bytes):
        stop = min(start + unit_bytes, size)
        yield Unit(path, kind, start, stop, stop - start)


def _row_groups(path: str, place: str, text_field: str) -> Iterator[Unit]:
    import_parquet()
    import pyarrow as pa
    import pyarrow.parquet as pq

    with storage.opened(place) as stream:
        try:
            file = pq.ParquetFile(stream)
            schema, metadata = file.schema_arrow, file.metadata
        except (pa.ArrowException, OSError) as error:
            raise ConfigError(f"`{path}` is no whole Parquet file: {error}. Write it again.") from error
        if text_field not in schema.names:
            raise ConfigError(
                f"A table must have a column for the text. Received: `{path}` with the columns "
                f"{schema.names[:20]}, without `{text_field}`. Name it with --text-field."
            )
        kind = schema.field(text_field).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise ConfigError(
                f"The column of the text must hold strings. Received: `{path}`, `{text_field}` of {kind}. "
                "Name another with --text-field, or write the table with a column of strings."
            )
        for group in range(metadata.num_row_groups):
            yield Unit(path, TABLE, group, group + 1, metadata.row_group(group).total_byte_size)


def import_parquet() -> None:
    """So that a missing package is said before anything else.

    Raises:
        ConfigError: if there is none.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"Parquet needs pyarrow. Received: {error}. Install it: {storage.EXTRA}."
        ) from error


def _kind(path: str, place: str, text_field: str) -> tuple[str, bool]:
    """How the lines of a file are read, and whether it is compressed."""
    name = PurePath(path)
    by_name = kind_by_name(name)
    with storage.opened(place) as raw, naming(name):
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if by_name == "tfrecord":
            return RECORDS, compressed
        stream = open_stream(raw)
        head = stream.read(HEAD_BYTES)
    found = kind_by_content(name, head, whole=len(head) < HEAD_BYTES)
    if (by_name or found) != "json":
        return TEXT, compressed
    return (JSON_LINES if _first_line_is_a_value(name, head, text_field) else JSON), compressed


def _first_line_is_a_value(path: PurePath, head: bytes, text_field: str) -> bool:
    """Whether each line is a value. One that begins with a bracket is a list over all lines."""
    lines = head.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
    first = next((line for line in lines if line.strip()), "").strip()
    if first.startswith("["):
        return False
    try:
        value = json.loads(first)
    except ValueError:
        # A first line longer than what was read, or one that is damaged: only a bad row, if the name says so.
        return len(lines) < 2 or path.name.lower().removesuffix(".gz").endswith(
            (".jsonl", ".ndjson", ".jsonlines")
        )
    if isinstance(value, dict) and text_field not in value:
        raise ConfigError(
            f'Each JSON document must be an object with a string in "{text_field}", or a string. Received: '
            f"`{path}`, line 1, the fields {sorted(value)[:20]}. Name the field that holds the text with "
            "--text-field."
        )
    return True
