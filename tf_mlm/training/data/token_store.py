"""Documents packed into rows of token ids, tokenised once and kept on disk.

`[CLS] document [SEP] document [SEP] ... [SEP]`: documents share rows, so that next to no position
is padding and every shape is static. Packed, each document has its own [CLS] and [SEP] and its own
positions, and a model does not look from one to another. The rows are flat files that are mapped into
memory; a week's corpus needs no more memory than a page's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mlm.config import to_json
from tf_mlm.durable import appearing, checked, discard, discard_unfinished, naming, read_checked
from tf_mlm.errors import ConfigError
from tf_mlm.text.packing import pack_apart, pack_documents
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.records import document_ids, vocabulary_digest
from tf_mlm.training.data.split import Split

INDEX = "index.json"
SIDES = ("train", "held_out")
KINDS = ("ids", "lengths", "positions")
"""The files of a side; only packed rows have the third."""
TOKENS_PER_PACK = 1 << 18
"""So many tokens are packed at a time; the last row of each pack is the only one with padding."""


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

    def take(self, chosen: Any) -> Rows:
        """The chosen rows as int32 arrays in memory."""
        columns = (x[chosen].astype(np.int32) for x in self if x is not None)
        return Rows(*columns)


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

    train: Rows
    held_out: Rows
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


class _Packer:
    """Writes a stream of documents as rows."""

    def __init__(
        self, directory: Path, side: str, key: dict[str, Any], dtype: str, vocabulary: Vocabulary
    ) -> None:
        self._length, self._packed = key["length"], key["packed"]
        kinds = KINDS if self._packed else KINDS[:2]
        self._paths = [directory / f"{side}.{kind}" for kind in kinds]
        self._streams = [path.open("wb") for path in self._paths]
        self._digests = [hashlib.blake2b(digest_size=8) for _ in kinds]
        self.rows = 0
        self._dtype, self._vocabulary = dtype, vocabulary
        self._waiting: list[np.ndarray] = []
        self._waiting_tokens = 0

    @property
    def digests(self) -> dict[str, str]:
        """A fingerprint of each file, by its name."""
        return {
            path.name: digest.hexdigest() for path, digest in zip(self._paths, self._digests, strict=True)
        }

    def add(self, ids: np.ndarray) -> None:
        """Appends a document."""
        self._waiting.append(ids)
        self._waiting_tokens += len(ids)
        if self._waiting_tokens >= TOKENS_PER_PACK:
            self._pack()

    def _pack(self) -> None:
        names = ("cls_id", "sep_id", "pad_id")
        special = {name: getattr(self._vocabulary, name) for name in names}
        if self._packed:
            rows = pack_apart(self._waiting, self._length, **special)
            columns = [np.asarray(x) for x in rows]
            columns[2] = columns[2].astype(_positions_dtype(self._length))
        else:
            documents = tf.RaggedTensor.from_row_lengths(
                np.concatenate(self._waiting), [len(ids) for ids in self._waiting]
            )
            columns = [x.numpy() for x in pack_documents(documents, self._length, **special)]
        columns[0], columns[1] = columns[0].astype(self._dtype), columns[1].astype(np.int32)
        for path, stream, digest, column in zip(
            self._paths, self._streams, self._digests, columns, strict=True
        ):
            data = column.tobytes()
            with naming(path):
                stream.write(data)
            digest.update(data)
        self.rows += len(columns[1])
        self._waiting, self._waiting_tokens = [], 0

    def close(self) -> None:
        """Packs what is left and ends the files."""
        if self._waiting:
            self._pack()
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
    dtype = "uint16" if vocabulary.size <= 1 << 16 else "int32"
    directory.parent.mkdir(parents=True, exist_ok=True)
    discard_unfinished(directory.parent, directory.name)
    split, tokens, unknown = Split(corpus.held_out), 0, 0
    held_tokens, held_bytes = 0, 0.0
    with appearing(directory) as temporary:
        temporary.mkdir()
        packers = {side: _Packer(temporary, side, key, dtype, vocabulary) for side in SIDES}
        contents: dict[Path, Any] = {path: hashlib.blake2b(digest_size=8) for path in corpus.files}
        for path, place, ids, size in document_ids(corpus, preprocessor):
            if len(ids):
                is_held_out = split.is_held_out(place)
                packers["held_out" if is_held_out else "train"].add(ids)
                if is_held_out:
                    held_tokens, held_bytes = held_tokens + len(ids), held_bytes + (size or math.nan)
                tokens, unknown = tokens + len(ids), unknown + int((ids == vocabulary.unk_id).sum())
                contents[path].update(ids.tobytes())
            progress(1)
        for packer in packers.values():
            packer.close()
        split.check(corpus.files)
        if corpus.file_states() != key["files"]:
            raise ConfigError(
                "Text must stay as it is while it is read. Received: "
                f"{_changed(corpus, key['files'])}, which changed. Start again when it is written in full."
            )
        digests = {name: digest for packer in packers.values() for name, digest in packer.digests.items()}
        index = {
            "key": key,
            "dtype": dtype,
            "rows": {side: packer.rows for side, packer in packers.items()},
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


def _positions_dtype(length: int) -> str:
    return "uint16" if length <= 1 << 16 else "int32"


def _map_rows(directory: Path, side: str, index: dict[str, Any]) -> Rows:
    rows, length = index["rows"][side], index["key"]["length"]
    columns = [(index["dtype"], (rows, length)), (np.int32, (rows,))]
    if index["key"]["packed"]:
        columns.append((_positions_dtype(length), (rows, length)))
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
