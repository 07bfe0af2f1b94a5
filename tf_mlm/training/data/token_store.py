"""Documents packed into rows of token ids, tokenised once and kept on disk.

`[CLS] document [SEP] document [SEP] ... [SEP]`: documents share rows, so that next to no position
is padding and every shape is static. Packed, each document has its own [CLS] and [SEP] and its own
positions, and a model does not look from one to another. The rows are flat files that are mapped into
memory; a week's corpus needs no more memory than a page's.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tf_mlm.config import to_json
from tf_mlm.durable import appearing, checked, discard, discard_unfinished, naming, read_checked
from tf_mlm.errors import ConfigError
from tf_mlm.text.digests import vocabulary_digest
from tf_mlm.text.packed_rows import Packer, dtype_of, positions_dtype
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.records import document_ids
from tf_mlm.training.data.split import Split

INDEX = "index.json"
SIDES = ("train", "held_out")
KINDS = ("ids", "lengths", "positions")
"""The files of a side; only packed rows have the third."""
ROWS_PER_COUNT = 1 << 16


class Rows(NamedTuple):
    """Rows of token ids, mapped from disk.

    Attributes:
        token_ids: uint16 or int32 [rows, length].
        lengths: int32 [rows].
        position_ids: uint16 or int32 [rows, length], the place of each token in its own document where a
            model keeps them apart; else None.
    """

    token_ids: np.ndarray
    lengths: np.ndarray
    position_ids: np.ndarray | None = None

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.lengths)

    @property
    def is_packed(self) -> bool:
        """Whether the documents of a row are kept apart."""
        return self.position_ids is not None

    @property
    def parts(self) -> tuple[int, int]:
        """Every worker reads all rows of a batch, and cuts its share from it."""
        return 0, 1

    def order(self, seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
        """Which rows stand at these places of an epoch's order."""
        return _permutation(self.total, seed, epoch)[places]

    def token_counts(self, vocabulary_size: int) -> np.ndarray:
        """How often each token occurs, padding and special ones included."""
        counts = np.zeros(vocabulary_size, np.int64)
        for first in range(0, self.total, ROWS_PER_COUNT):
            ids = self.token_ids[first : first + ROWS_PER_COUNT]
            counts += np.bincount(ids.ravel(), minlength=vocabulary_size)
        return counts

    def take(self, chosen: Any) -> Rows:
        """The chosen rows as int32 arrays in memory."""
        columns = (x[chosen].astype(np.int32) for x in self if x is not None)
        return Rows(*columns)


class StoredRows(Protocol):
    """Rows wherever they lie: in one file for every worker, or in shards of its own."""

    @property
    def total(self) -> int:
        """How many there are."""

    @property
    def is_packed(self) -> bool:
        """Whether the documents of a row are kept apart."""

    @property
    def parts(self) -> tuple[int, int]:
        """Which part of a batch these are for, and how many there are: 0 and 1 for all of it."""

    def take(self, chosen: Any) -> Rows:
        """The chosen rows as int32 arrays in memory."""

    def order(self, seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
        """Which rows stand at these places of an epoch's order, int64: a pure function of its arguments."""

    def token_counts(self, vocabulary_size: int) -> np.ndarray:
        """How often each token occurs in all rows of all workers."""


@functools.lru_cache(maxsize=2)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(rows)


@dataclasses.dataclass(frozen=True)
class TokenStore:
    """The packed rows of a corpus.

    Attributes:
        train, held_out: the two sides of the split, mapped from disk.
        digest: fingerprint of all rows, the same wherever and however they were read.
        documents: number of training and of held-out documents.
        tokens_per_byte: of the held-out documents, special tokens not counted; None where they came as ids.
        unknown: share of the tokens that the vocabulary has no name for.
        files: path, size in bytes and fingerprint of the tokens of each file.
    """

    train: StoredRows
    held_out: StoredRows
    digest: str
    documents: tuple[int, int]
    tokens_per_byte: float | None
    unknown: float
    files: list[list[Any]]


def open_token_store(
    directory: Path,
    corpus: Corpus,
    preprocessor: TextPreprocessor,
    *,
    length: int,
    packed: bool = False,
    progress: Callable[[int], None] = lambda documents: None,
) -> TokenStore:
    """The rows of a corpus; read from `directory` if they were put there for the same files and settings.

    With `packed`, the documents of a row are kept apart.

    Raises:
        ConfigError: if the files hold no text, or only documents for one side.
    """
    key = {
        **corpus.key(),
        "vocabulary": vocabulary_digest(preprocessor.vocabulary),
        "tokenizer": to_json(dataclasses.replace(preprocessor.vocabulary.config, extra={})),
        "length": length,
        "packed": packed,
        "counts_bytes": True,
    }
    index = _read_index(directory, key)
    if index is None:
        index = _build(directory, key, corpus, preprocessor, progress)
    sides = {side: _map_rows(directory, side, index) for side in SIDES}
    return TokenStore(
        sides["train"],
        sides["held_out"],
        index["digest"],
        tuple(index["documents"]),
        index["tokens_per_byte"],
        index["unknown"],
        index["files"],
    )


class _SideWriter:
    """Writes a stream of documents as rows."""

    def __init__(self, directory: Path, side: str, key: dict[str, Any], vocabulary: Vocabulary) -> None:
        kinds = KINDS if key["packed"] else KINDS[:2]
        self._paths = [directory / f"{side}.{kind}" for kind in kinds]
        self._streams = [path.open("wb") for path in self._paths]
        self._digests = [hashlib.blake2b(digest_size=8) for _ in kinds]
        self.rows = 0
        self._packer = Packer(self._write, key["length"], vocabulary, apart=key["packed"])

    @property
    def digests(self) -> dict[str, str]:
        """A fingerprint of each file, by its name."""
        return {
            path.name: digest.hexdigest() for path, digest in zip(self._paths, self._digests, strict=True)
        }

    def add(self, ids: np.ndarray) -> None:
        """Appends a document."""
        self._packer.add(ids)

    def _write(self, *columns: np.ndarray) -> None:
        for path, stream, digest, column in zip(
            self._paths, self._streams, self._digests, columns, strict=True
        ):
            data = column.tobytes()
            with naming(path):
                stream.write(data)
            digest.update(data)
        self.rows += len(columns[1])

    def close(self) -> None:
        """Packs what is left and ends the files."""
        self._packer.flush()
        for path, stream in zip(self._paths, self._streams, strict=True):
            with naming(path):
                stream.close()


def _build(
    directory: Path,
    key: dict[str, Any],
    corpus: Corpus,
    preprocessor: TextPreprocessor,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    vocabulary = preprocessor.vocabulary
    directory.parent.mkdir(parents=True, exist_ok=True)
    discard_unfinished(directory.parent, directory.name)
    split, tokens, unknown = Split(corpus.held_out), 0, 0
    held_tokens, held_bytes = 0, 0.0
    with appearing(directory) as temporary:
        temporary.mkdir()
        writers = {side: _SideWriter(temporary, side, key, vocabulary) for side in SIDES}
        contents: dict[Path, Any] = {path: hashlib.blake2b(digest_size=8) for path in corpus.files}
        for path, place, ids, size in document_ids(corpus, preprocessor):
            if len(ids):
                is_held_out = split.is_held_out(place)
                writers["held_out" if is_held_out else "train"].add(ids)
                if is_held_out:
                    held_tokens, held_bytes = held_tokens + len(ids), held_bytes + (size or math.nan)
                tokens, unknown = tokens + len(ids), unknown + int((ids == vocabulary.unk_id).sum())
                contents[path].update(ids.tobytes())
            progress(1)
        for writer in writers.values():
            writer.close()
        split.check(corpus.files)
        if corpus.file_states() != key["files"]:
            raise ConfigError(
                "Text must stay as it is while it is read. Received: "
                f"{_changed(corpus, key['files'])}, which changed. Start again when it is written in full."
            )
        digests = {name: digest for writer in writers.values() for name, digest in writer.digests.items()}
        index = {
            "key": key,
            "dtype": dtype_of(vocabulary),
            "rows": {side: writer.rows for side, writer in writers.items()},
            "documents": [split.train, split.held_out],
            "tokens_per_byte": held_tokens / held_bytes if held_bytes > 0 else None,
            "unknown": unknown / tokens,
            "files": [[str(p), p.stat().st_size, digest.hexdigest()] for p, digest in contents.items()],
            "digests": digests,
            "digest": hashlib.blake2b(json.dumps(digests).encode(), digest_size=8).hexdigest(),
        }
        with naming(temporary / INDEX):
            (temporary / INDEX).write_bytes(checked(index))
        discard(directory)
    return index


def _changed(corpus: Corpus, before: list[list[Any]]) -> str:
    states = zip(corpus.files, before, corpus.file_states(), strict=True)
    return ", ".join(f"`{path}`" for path, old, new in states if old != new)


def _map_rows(directory: Path, side: str, index: dict[str, Any]) -> Rows:
    rows, length = index["rows"][side], index["key"]["length"]
    columns = [(index["dtype"], (rows, length)), (np.int32, (rows,))]
    if index["key"]["packed"]:
        columns.append((positions_dtype(length), (rows, length)))
    if not rows:
        return Rows(*(np.zeros(shape, dtype) for dtype, shape in columns))
    paths = [directory / f"{side}.{kind}" for kind in KINDS]
    mapped = (
        np.memmap(path, dtype, mode="r", shape=shape)
        for path, (dtype, shape) in zip(paths, columns, strict=False)
    )
    return Rows(*mapped)


def _read_index(directory: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """What stands in the directory, if it was made for this key and no bit of it has changed."""
    try:
        index: dict[str, Any] = read_checked(directory / INDEX)
        if index["key"] != key:
            return None
        for name, digest in index["digests"].items():
            with (directory / name).open("rb") as stream:
                found = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8))
            if found.hexdigest() != digest:
                return None
        return index
    except (OSError, ValueError):
        return None
