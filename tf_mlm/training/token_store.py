"""Documents packed into rows of token ids, tokenised once and kept on disk.

`[CLS] document [SEP] document [SEP] ... [SEP]`: documents share rows, so that next to no position
is padding and every shape is static. The rows are flat files that are mapped into memory; a week's
corpus needs no more memory than a page's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mlm.config import ConfigError
from tf_mlm.text.packing import pack_documents
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.corpus import in_share
from tf_mlm.training.records import document_ids, vocabulary_digest

INDEX = "index.json"
SIDES = ("train", "held_out")
TOKENS_PER_PACK = 1 << 18
"""So many tokens are packed at a time; the last row of each pack is the only one with padding."""


class Rows(NamedTuple):
    """Packed rows: `token_ids` uint16 or int32 [rows, length] and `lengths` int32 [rows]."""

    token_ids: np.ndarray
    lengths: np.ndarray

    def take(self, chosen: Any) -> Rows:
        """The chosen rows as int32 arrays in memory."""
        return Rows(self.token_ids[chosen].astype(np.int32), self.lengths[chosen].astype(np.int32))


@dataclasses.dataclass(frozen=True)
class TokenStore:
    """The packed rows of a corpus.

    Attributes:
        train, held_out: the two sides of the split, mapped from disk.
        digest: fingerprint of all rows, the same wherever and however they were read.
        documents: number of training and of held-out documents.
    """

    train: Rows
    held_out: Rows
    digest: str
    documents: tuple[int, int]


def open_token_store(
    directory: Path,
    files: Sequence[Path],
    preprocessor: TextPreprocessor,
    *,
    length: int,
    held_out: float,
    text_field: str = "text",
    progress: Callable[[int], None] = lambda documents: None,
) -> TokenStore:
    """The rows of `files`; read from `directory` if they were put there for the same files and settings.

    `held_out` is the share of the documents to hold out; with 1 there is nothing to train on.

    Raises:
        ConfigError: if the files hold no text, or only documents for one side.
    """
    key = {
        "files": [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in files],
        "vocabulary": vocabulary_digest(preprocessor.vocabulary),
        "tokenizer": dataclasses.asdict(dataclasses.replace(preprocessor.vocabulary.config, extra={})),
        "length": length,
        "held_out": held_out,
        "text_field": text_field,
    }
    index = _read_index(directory)
    if index is None or index["key"] != key:
        _build(directory, key, files, preprocessor, length, held_out, text_field, progress)
        index = _read_index(directory)
        assert index is not None
    sides = {side: _map_rows(directory, side, index, length) for side in SIDES}
    return TokenStore(sides["train"], sides["held_out"], index["digest"], tuple(index["documents"]))


class _Packer:
    """Writes a stream of documents as rows."""

    def __init__(self, directory: Path, side: str, length: int, dtype: str, vocabulary: Vocabulary) -> None:
        self._ids = (directory / f"{side}.ids").open("wb")
        self._lengths = (directory / f"{side}.lengths").open("wb")
        self.digest = hashlib.blake2b(digest_size=8)
        self.rows = self.documents = 0
        self._length, self._dtype, self._vocabulary = length, dtype, vocabulary
        self._waiting: list[np.ndarray] = []
        self._waiting_tokens = 0

    def add(self, ids: np.ndarray) -> None:
        """Appends a document."""
        self._waiting.append(ids)
        self._waiting_tokens += len(ids)
        self.documents += 1
        if self._waiting_tokens >= TOKENS_PER_PACK:
            self._pack()

    def _pack(self) -> None:
        documents = tf.RaggedTensor.from_row_lengths(
            np.concatenate(self._waiting), [len(ids) for ids in self._waiting]
        )
        vocabulary = self._vocabulary
        blocks = pack_documents(
            documents,
            self._length,
            cls_id=vocabulary.cls_id,
            sep_id=vocabulary.sep_id,
            pad_id=vocabulary.pad_id,
        )
        for stream, values in (
            (self._ids, blocks.token_ids.numpy().astype(self._dtype)),
            (self._lengths, blocks.lengths.numpy().astype(np.int32)),
        ):
            stream.write(values.tobytes())
            self.digest.update(values.tobytes())
        self.rows += int(blocks.lengths.shape[0])
        self._waiting, self._waiting_tokens = [], 0

    def close(self) -> None:
        """Packs what is left and ends the files."""
        if self._waiting:
            self._pack()
        for stream in (self._ids, self._lengths):
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()


def _build(
    directory: Path,
    key: dict[str, Any],
    files: Sequence[Path],
    preprocessor: TextPreprocessor,
    length: int,
    held_out: float,
    text_field: str,
    progress: Callable[[int], None],
) -> None:
    vocabulary = preprocessor.vocabulary
    dtype = "uint16" if vocabulary.size <= 1 << 16 else "int32"
    temporary = directory.with_name(f".{directory.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    packers = {side: _Packer(temporary, side, length, dtype, vocabulary) for side in SIDES}
    try:
        for split, ids in document_ids(files, preprocessor, text_field=text_field):
            if len(ids):
                packers["held_out" if in_share(split, held_out) else "train"].add(ids)
            progress(1)
        for packer in packers.values():
            packer.close()
        _check_enough(packers, files, held_out)
        index = {
            "key": key,
            "dtype": dtype,
            "rows": {side: packer.rows for side, packer in packers.items()},
            "documents": [packer.documents for packer in packers.values()],
            "digest": "".join(packer.digest.hexdigest() for packer in packers.values()),
        }
        (temporary / INDEX).write_text(json.dumps(index))
        shutil.rmtree(directory, ignore_errors=True)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_enough(packers: dict[str, _Packer], files: Iterable[Path], held_out: float) -> None:
    train, kept = packers["train"], packers["held_out"]
    if kept.rows and (train.rows or held_out >= 1):
        return
    names = ", ".join(str(path) for path in files)
    if not train.documents and not kept.documents:
        raise ConfigError(f"The files must hold text. Received: {names}, without one token in it.")
    raise ConfigError(
        "Text is split into training and held-out text by document, and each side needs one. "
        f"Received: {train.documents} documents to train on and {kept.documents} held out, from {names}. "
        "Add documents (a blank line or a JSON line separates them), or choose a `held_out` share other than "
        f"{held_out}."
    )


def _map_rows(directory: Path, side: str, index: dict[str, Any], length: int) -> Rows:
    rows = index["rows"][side]
    if not rows:
        return Rows(np.zeros([0, length], index["dtype"]), np.zeros([0], np.int32))
    return Rows(
        np.memmap(directory / f"{side}.ids", index["dtype"], mode="r", shape=(rows, length)),
        np.memmap(directory / f"{side}.lengths", np.int32, mode="r", shape=(rows,)),
    )


def _read_index(directory: Path) -> dict[str, Any] | None:
    try:
        index = json.loads((directory / INDEX).read_text())
        width = np.dtype(index["dtype"]).itemsize * index["key"]["length"]
        whole = all(
            (directory / f"{side}.ids").stat().st_size == rows * width for side, rows in index["rows"].items()
        )
        return index if whole else None
    except (OSError, ValueError, KeyError):
        return None
