"""The output of a unit as JSON lines or Parquet, written a few thousand rows at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Writer(Protocol):
    """Takes rows, and is closed at the end."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows."""

    def __enter__(self) -> Any:
        """Itself."""

    def __exit__(self, *error: object) -> None:
        """Ends the file."""


def open_part(path: Path, verb: str, options: Mapping[str, Any]) -> Writer:
    """A new file of rows."""
    return ParquetPart(path, verb, options) if options["format"] == "parquet" else JsonPart(path)


class JsonPart:
    """A row a line. Numbers have the digits that tell a float32, no more."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w", encoding="utf-8", errors="surrogatepass", newline="\n")

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows."""
        self._stream.writelines(json.dumps(_plain(row), ensure_ascii=False) + "\n" for row in rows)

    def __enter__(self) -> JsonPart:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()


class ParquetPart:
    """A table with the columns of a verb, null in a row that failed, and `error`, null in every other."""

    def __init__(self, path: Path, verb: str, options: Mapping[str, Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema([("id", pa.string()), *_columns(verb, options), ("error", pa.string())])
        self._writer = pq.ParquetWriter(path, self._schema)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows, a row group of them."""
        import pyarrow as pa

        values = [{**row, "id": str(row["id"])} for row in rows]
        columns = [
            pa.array([_listed(value.get(field.name)) for value in values], field.type)
            for field in self._schema
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def __enter__(self) -> ParquetPart:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()


def _columns(verb: str, options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    import pyarrow as pa

    if verb == "score":
        return [("score", pa.float32()), ("tokens", pa.int32())]
    vector = pa.list_(pa.float32())
    if verb == "embed":
        of_tokens = [("tokens", pa.list_(pa.string())), ("embeddings", pa.list_(vector))]
        return of_tokens if options["pooling"] == "tokens" else [("embedding", vector)]
    fill = [
        ("score", pa.float32()),
        ("token", pa.int32()),
        ("token_str", pa.string()),
        ("sequence", pa.string()),
    ]
    return [("fills", pa.list_(pa.list_(pa.struct(fill))))]


def _listed(value: Any) -> Any:
    """A matrix as a list of its rows, which Arrow takes."""
    return list(value) if isinstance(value, np.ndarray) and value.ndim > 1 else value


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value
