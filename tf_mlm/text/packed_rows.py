"""Packed rows of token ids in TFRecord files that are read in place: a record of each row, all of one size.

The first record describes the others: an `Example` with JSON in its feature `tf_mlm_rows` and, in `counts`,
how often each token occurs. Every other record is an `Example` with one feature, `row`: the number of real
tokens as int32 and the ids behind it, little-endian; then, where documents are kept apart, the place of each
token in its own. So row n stands at a place that can be computed, and any reader of TFRecords can read the
file too.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mlm.errors import ConfigError
from tf_mlm.text.packing import pack_apart, pack_documents
from tf_mlm.text.vocabulary import Vocabulary

TOKENS_PER_PACK = 1 << 18
"""So many tokens are packed at a time; the last row of each pack is the only one with padding."""
_FACTS, _COUNTS, _ROW = "tf_mlm_rows", "counts", "row"
_COLUMNS = ("ids", "size", "places")
_FRAME = struct.Struct("<QI")
"""What stands before a record: its size, and a checksum of that; behind it stands another checksum."""
_MOST_HEADER = 1 << 26


def dtype_of(vocabulary: Vocabulary) -> str:
    """The smallest type that holds all ids.

    Example:
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> dtype_of(Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
        'uint16'
    """
    return "uint16" if vocabulary.size <= 1 << 16 else "int32"


def positions_dtype(length: int) -> str:
    """The smallest type that holds the places in a row."""
    return "uint16" if length <= 1 << 16 else "int32"


def pack(
    documents: Sequence[np.ndarray], length: int, vocabulary: Vocabulary, *, apart: bool = False
) -> tuple[np.ndarray, ...]:
    """Documents as rows.

    Args:
        documents: int32 [tokens] each, without special tokens around them.
        length: tokens of a row.
        vocabulary: for the special ones between them.
        apart: give each document of a row special tokens and positions of its own.

    Returns:
        Token ids [rows, length] of `dtype_of`, lengths int32 [rows], and where documents are kept apart
        the place of each token in its own, [rows, length] of `positions_dtype`.
    """
    special = {name: getattr(vocabulary, name) for name in ("cls_id", "sep_id", "pad_id")}
    if apart:
        rows = pack_apart(documents, length, **special)
        columns = [rows.token_ids, rows.lengths, rows.position_ids.astype(positions_dtype(length))]
    else:
        sizes = [len(ids) for ids in documents]
        joined = tf.RaggedTensor.from_row_lengths(np.concatenate(documents), sizes)
        columns = [x.numpy() for x in pack_documents(joined, length, **special)]
    return columns[0].astype(dtype_of(vocabulary)), columns[1].astype(np.int32), *columns[2:]


class Packer:
    """Packs a stream of documents, so many tokens at a time.

    Args:
        take: called with the columns that `pack` returns.
        length: tokens of a row.
        vocabulary: that of the ids.
        apart: as of `pack`.
    """

    def __init__(
        self, take: Callable[..., None], length: int, vocabulary: Vocabulary, *, apart: bool = False
    ) -> None:
        self._take, self._length, self._vocabulary, self._apart = take, length, vocabulary, apart
        self._waiting: list[np.ndarray] = []
        self._tokens = 0

    def add(self, ids: np.ndarray) -> None:
        """Appends a document, int32 [tokens]."""
        self._waiting.append(ids)
        self._tokens += len(ids)
        if self._tokens >= TOKENS_PER_PACK:
            self.flush()

    def flush(self) -> None:
        """Packs what is left."""
        if self._waiting:
            self._take(*pack(self._waiting, self._length, self._vocabulary, apart=self._apart))
        self._waiting, self._tokens = [], 0


class RowsWriter:
    """Packs documents and writes the rows; at the end it puts their description before them.

    Args:
        path: the file to make; another one is made beside it meanwhile.
        length: tokens of a row.
        vocabulary: that of the ids.
        apart: as of `pack`.
    """

    def __init__(self, path: Path, length: int, vocabulary: Vocabulary, *, apart: bool = False) -> None:
        self._path, self._body = path, path.with_name(f"{path.name}.rows")
        self._writer = tf.io.TFRecordWriter(str(self._body))
        self._digest = hashlib.blake2b(digest_size=8)
        self._packer = Packer(self._write, length, vocabulary, apart=apart)
        self._length, self._dtype = length, dtype_of(vocabulary)
        self._positions = positions_dtype(length) if apart else None
        self._counts = np.zeros(vocabulary.size, np.int64)
        self._rows = 0

    def add(self, ids: np.ndarray) -> None:
        """Appends a document, int32 [tokens]."""
        self._packer.add(ids)

    def _write(self, token_ids: np.ndarray, lengths: np.ndarray, *places: np.ndarray) -> None:
        for size, *columns in zip(lengths, token_ids, *places, strict=True):
            values = (column.astype(column.dtype.newbyteorder("<")).tobytes() for column in columns)
            data = struct.pack("<i", size) + b"".join(values)
            self._digest.update(data)
            self._writer.write(_example({_ROW: data}))
        self._counts += np.bincount(token_ids.ravel(), minlength=len(self._counts))
        self._rows += len(lengths)

    def close(self, **facts: Any) -> None:
        """Makes the file; `facts` are JSON values."""
        self._packer.flush()
        self._writer.close()
        mine = {
            "rows": self._rows,
            "length": self._length,
            "dtype": self._dtype,
            "digest": self._digest.hexdigest(),
        }
        if self._positions is not None:  # without it, the facts are those of earlier versions
            mine["positions"] = self._positions
        with tf.io.TFRecordWriter(str(self._path)) as writer:
            described = json.dumps({**facts, **mine}, sort_keys=True).encode()
            writer.write(_example({_FACTS: described}, self._counts))
        with self._path.open("ab") as stream, self._body.open("rb") as rows:
            shutil.copyfileobj(rows, stream, 1 << 20)
        os.remove(self._body)


class RowsFile(NamedTuple):
    """A file of packed rows, described and not yet read.

    Attributes:
        path: where it lies.
        facts: its description.
        first: the byte at which the first row's record begins.
    """

    path: Path
    facts: dict[str, Any]
    first: int

    @property
    def rows(self) -> int:
        """How many it holds."""
        return int(self.facts["rows"])

    @property
    def apart(self) -> bool:
        """Whether each document of a row has special tokens and positions of its own."""
        return "positions" in self.facts

    @property
    def _layout(self) -> np.dtype[Any]:
        return _layout(*(self.facts.get(name) for name in ("length", "dtype", "positions")))

    def take(self, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
        """Rows by their numbers, and no other: the columns of `pack`, as int32."""
        layout = self._layout
        columns = [name for name in _COLUMNS if name in (layout.names or ())]
        found = np.empty([len(chosen)], layout)
        with self.path.open("rb", buffering=0) as stream:
            for index, row in enumerate(chosen):
                data = os.pread(stream.fileno(), layout.itemsize, self.first + int(row) * layout.itemsize)
                found[index] = np.frombuffer(data, layout)[0]
        return tuple(found[name].astype(np.int32) for name in columns)

    def counts(self) -> np.ndarray:
        """How often each token occurs, int64 [vocabulary]."""
        with self.path.open("rb") as stream:
            features = _features(stream.read(self.first))
        return np.asarray(features[_COUNTS].int64_list.value, np.int64)


def read_description(path: Path) -> RowsFile | None:
    """The description of a file of packed rows; None for a file of other records.

    Raises:
        ConfigError: for a file of packed rows that is cut short.
    """
    with path.open("rb") as stream:
        frame = stream.read(_FRAME.size)
        size = _FRAME.unpack(frame)[0] if len(frame) == _FRAME.size else 0
        if not 0 < size < _MOST_HEADER:
            return None
        data = frame + stream.read(size + 4)
    first = _FRAME.size + size + 4
    try:
        features = _features(data)
        facts = json.loads(features[_FACTS].bytes_list.value[0]) if _FACTS in features else None
    except Exception:  # no protocol buffer, no JSON: other records, which have a reader of their own
        return None
    if facts is None:
        return None
    found = RowsFile(path, facts, first)
    expected = first + found.rows * found._layout.itemsize
    if (received := path.stat().st_size) != expected:
        raise ConfigError(
            f"A file of packed rows must be whole. Received: `{path}` with {received:,} bytes in place of "
            f"{expected:,}. Write it again with `tf-mlm tokenize --to-tfrecord`."
        )
    return found


@functools.cache
def _layout(length: int, dtype: str, positions: str | None) -> np.dtype[Any]:
    """A row's record as the fields of an array."""
    columns = {"ids": dtype} if positions is None else {"ids": dtype, "places": positions}
    fields = [(name, np.dtype(kind).newbyteorder("<"), (length,)) for name, kind in columns.items()]
    row = np.dtype([("size", "<i4"), *fields])
    example = _example({_ROW: bytes(row.itemsize)})
    before = _FRAME.size + len(example) - row.itemsize
    assert row.names is not None
    assert row.fields is not None
    return np.dtype(
        {
            "names": list(row.names),
            "formats": [row.fields[name][0] for name in row.names],
            "offsets": [before + row.fields[name][1] for name in row.names],
            "itemsize": _FRAME.size + len(example) + 4,
        }
    )


def _example(texts: dict[str, bytes], counts: np.ndarray | None = None) -> bytes:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])) for name, data in texts.items()
    }
    if counts is not None:
        features[_COUNTS] = tf.train.Feature(int64_list=tf.train.Int64List(value=counts))
    message = tf.train.Example(features=tf.train.Features(feature=features))
    serialized: bytes = message.SerializeToString(deterministic=True)
    return serialized


def _features(record: bytes) -> Any:
    return tf.train.Example.FromString(record[_FRAME.size : -4]).features.feature
