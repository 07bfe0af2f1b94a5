"""Documents packed into rows of token ids, tokenised once and kept on disk.

`[CLS] document [SEP] document [SEP] ... [SEP]`: a side of the split is one stream of tokens cut into
rows of one length, so no position is padding and every shape is static. The rows are a flat file
that is mapped into memory; a week's corpus needs no more memory than a page's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mlm.config import ConfigError
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.training.corpus import is_held_out
from tf_mlm.training.records import document_ids, vocabulary_digest

INDEX = "index.json"


@dataclasses.dataclass(frozen=True)
class TokenStore:
    """The packed rows of a corpus.

    Attributes:
        train, held_out: uint16 or int32 [rows, length], mapped from disk.
        digest: fingerprint of all rows, the same wherever and however they were read.
        documents: number of training and of held-out documents.
    """

    train: np.ndarray
    held_out: np.ndarray
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

    Raises:
        ConfigError: if the files hold no text, or too little for one row on each side.
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
    sides = {
        side: np.memmap(
            directory / f"{side}.ids", index["dtype"], mode="r", shape=(index["rows"][side], length)
        )
        for side in ("train", "held_out")
    }
    return TokenStore(sides["train"], sides["held_out"], index["digest"], tuple(index["documents"]))


class _Packer:
    """Writes a stream of documents as rows."""

    def __init__(self, path: Path, length: int, dtype: str, cls_id: int, sep_id: int) -> None:
        self.stream = path.open("wb")
        self.digest = hashlib.blake2b(digest_size=8)
        self.rows = self.documents = 0
        self._content, self._dtype, self._cls_id, self._sep_id = length - 2, dtype, cls_id, sep_id
        self._rest = np.zeros([0], np.int32)

    def add(self, ids: np.ndarray) -> None:
        """Appends a document; whole rows go to the file at once."""
        tokens = np.concatenate([self._rest, ids, [self._sep_id]])
        whole = len(tokens) // self._content
        self._write(tokens[: whole * self._content])
        self._rest = tokens[whole * self._content :]
        self.documents += 1

    def _write(self, tokens: np.ndarray) -> None:
        rows = tokens.reshape(-1, self._content)
        framed = np.pad(rows, ((0, 0), (1, 1)))
        framed[:, 0], framed[:, -1] = self._cls_id, self._sep_id
        data = np.ascontiguousarray(framed, self._dtype).tobytes()
        self.stream.write(data)
        self.digest.update(data)
        self.rows += len(rows)

    def close(self) -> None:
        """Ends the file. What does not fill the last row is dropped: less than one row of a corpus."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()


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
    packers = {
        side: _Packer(temporary / f"{side}.ids", length, dtype, vocabulary.cls_id, vocabulary.sep_id)
        for side in ("train", "held_out")
    }
    try:
        for content, ids in document_ids(files, preprocessor, text_field=text_field):
            if len(ids):
                packers["held_out" if is_held_out(content, held_out) else "train"].add(ids)
            progress(1)
        for packer in packers.values():
            packer.close()
        _check_enough(packers, files, length, held_out)
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


def _check_enough(packers: dict[str, _Packer], files: Iterable[Path], length: int, held_out: float) -> None:
    train, kept = packers["train"], packers["held_out"]
    if train.rows and kept.rows:
        return
    names = ", ".join(str(path) for path in files)
    if not train.documents and not kept.documents:
        raise ConfigError(f"The training files must hold text. Received: {names}, without one token in it.")
    raise ConfigError(
        f"Training and held-out text must each fill a row of {length} tokens, and the split goes by document. "
        f"Received: {train.documents} documents ({train.rows} rows) to train on and {kept.documents} ({kept.rows} rows) "
        f"held out, from {names}. Add documents (blank lines separate them), choose a shorter `length`, or a "
        f"`held_out` share other than {held_out}."
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
