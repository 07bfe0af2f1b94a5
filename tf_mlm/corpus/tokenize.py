"""A unit's documents as packed rows: a shard to train on, a shard of what is held out, and what failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tf_mlm.corpus.plan import Job, digest
from tf_mlm.corpus.rows import Row, rows_of
from tf_mlm.corpus.storage import Output
from tf_mlm.errors import ConfigError
from tf_mlm.reading.split_key import in_share, split_key
from tf_mlm.text.digests import tokenizer_digest, vocabulary_digest
from tf_mlm.text.document_ids import tokenize_documents
from tf_mlm.text.packed_rows import RowsWriter
from tf_mlm.text.preprocessor import TextPreprocessor


def preprocessor_of(target: str) -> TextPreprocessor:
    """The tokenizer of a model directory, without its weights.

    Raises:
        ConfigError: if it has none that runs here.
    """
    from tf_mlm.model.directory.checkpoint import read_config
    from tf_mlm.model.directory.read_tokenizer import read_preprocessor

    path = Path(target)
    found = read_preprocessor(path, read_config(path))
    if found is None:
        raise ConfigError(
            f"`{target}` has no tokenizer that runs here; use one with WordPiece, BPE or Unigram."
        )
    return found


def is_packed(target: str, packed: bool | None) -> bool:
    """Whether the documents of a row are kept apart: as said, else as training does it by default.

    Raises:
        ConfigError: if it is said of a model that cannot.
    """
    from tf_mlm.model.directory.checkpoint import read_config

    config = read_config(Path(target))
    if packed and not config.reads_apart:
        raise ConfigError(
            "Packed rows need a model that can read each document of a row by itself. Received: "
            f"`{target}`, which is {config.model_type}. Leave out --packed."
        )
    return config.reads_apart and config.rope_theta is not None if packed is None else packed


def fingerprint(preprocessor: TextPreprocessor) -> str:
    """What tells token ids of this tokenizer from those of another one."""
    vocabulary = preprocessor.vocabulary
    return f"{vocabulary_digest(vocabulary)}-{tokenizer_digest(vocabulary)}"


class Tokenizing:
    """Turns units into shards.

    Args:
        preprocessor: holds tokenizer and vocabulary.
    """

    def __init__(self, preprocessor: TextPreprocessor) -> None:
        self._preprocessor = preprocessor

    def __call__(self, job: Job, index: int) -> tuple[int, int, int]:
        """Writes the shards of a unit; the number of its documents, of bad rows, and of tokens."""
        unit, output = job.units[index], Output(job.output)
        held_out_name, train_name = job.parts(index)
        failed: list[Row] = []
        sides = {side: np.zeros(3, np.int64) for side in (False, True)}  # documents, tokens, unknown
        keys: list[bytes] = []

        def texts() -> Iterator[str]:
            for row in rows_of(unit, job.place(unit.file), job.fields):
                if row.text is None:
                    failed.append(row)
                elif text := row.text.strip():
                    keys.append(split_key(text))
                    yield text

        # What appears last is the shard to train on: then the unit is done.
        with output.appearing(train_name) as train, output.appearing(held_out_name) as held_out:
            vocabulary = self._preprocessor.vocabulary
            writers = {
                side: RowsWriter(
                    path, job.options["length"], vocabulary, apart=bool(job.options.get("packed"))
                )
                for side, path in ((False, train), (True, held_out))
            }
            for place, ids in enumerate(tokenize_documents(texts(), self._preprocessor)):
                if len(ids):
                    side = in_share(keys[place], job.options["held_out"])
                    writers[side].add(ids)
                    unknown = int((ids == vocabulary.unk_id).sum())
                    sides[side] += np.array([1, len(ids), unknown], np.int64)
            for side, writer in writers.items():
                writer.close(**self._facts(job, index, side, sides[side].tolist()))
            if failed:
                lines = "".join(json.dumps({"id": row.id, "error": row.error}) + "\n" for row in failed)
                output.write(f"errors-{index:05d}-of-{len(job.units):05d}.jsonl", lines.encode())
        return len(keys) + len(failed), len(failed), int(sides[False][1] + sides[True][1])

    def _facts(self, job: Job, index: int, side: bool, counts: list[int]) -> dict[str, Any]:
        """What travels with a shard."""
        documents, tokens, unknown = counts
        return {
            "side": "held_out" if side else "train",
            "held_out": job.options["held_out"],
            "vocabulary": vocabulary_digest(self._preprocessor.vocabulary),
            "tokenizer": tokenizer_digest(self._preprocessor.vocabulary),
            "job": digest(job.to_json()),
            "unit": index,
            "units": len(job.units),
            "documents": documents,
            "tokens": tokens,
            "unknown": unknown,
        }
