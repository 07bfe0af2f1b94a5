"""Shards of packed rows, as `tf-mlm tokenize --to-tfrecord DIRECTORY` writes them: trained on where they lie.

Nothing is packed again, and memory does not grow with the number of shards. Each worker of a run on several
machines reads the shards of its own; the others it only describes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_mlm.errors import ConfigError
from tf_mlm.reading.files import holds_token_ids
from tf_mlm.text.digests import tokenizer_digest, vocabulary_digest
from tf_mlm.text.packed_rows import RowsFile, read_description
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.data.corpus import Corpus
from tf_mlm.training.data.split import Split
from tf_mlm.training.data.token_store import Rows, TokenStore

ROUNDS = 4
"""Of the mixing that orders the rows: enough for every bit of a number to change with every other."""


class ShardRows:
    """The rows of several files as one sequence.

    Args:
        files: all of one side of the split, in an order that every worker shares.
        length: tokens of a row.
        worker: which worker reads them.
        workers: how many share them; each takes every so-manieth file.
    """

    def __init__(self, files: Sequence[RowsFile], length: int, *, worker: int = 0, workers: int = 1) -> None:
        self._all, self._length = files, length
        self.worker, self.workers = worker, workers
        self._files = [file for file in files[worker::workers] if file.rows]
        self._ends = np.cumsum([0, *(file.rows for file in self._files)])

    @property
    def total(self) -> int:
        """How many rows this worker has."""
        return int(self._ends[-1])

    def take(self, chosen: Any) -> Rows:
        """The chosen rows as int32 arrays in memory."""
        if isinstance(chosen, slice):
            chosen = np.arange(*chosen.indices(self.total))
        numbers = np.atleast_1d(np.asarray(chosen, np.int64))
        shapes = ([self._length], [], [self._length])[: 3 if self.is_packed else 2]
        columns = [np.empty([len(numbers), *shape], np.int32) for shape in shapes]
        places = np.searchsorted(self._ends, numbers, side="right") - 1
        for place in np.unique(places):
            here = places == place
            found = self._files[place].take(numbers[here] - self._ends[place])
            for column, values in zip(columns, found, strict=True):
                column[here] = values
        return Rows(*(column if np.ndim(chosen) else column[0] for column in columns))

    @property
    def is_packed(self) -> bool:
        """Whether they were packed so that the documents of a row are kept apart."""
        return any(file.apart for file in self._all)

    @property
    def parts(self) -> tuple[int, int]:
        """Which worker reads these, and how many share the batches."""
        return self.worker, self.workers

    def order(self, seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
        """Which rows stand at these places of an epoch's order: a permutation that is never in memory.

        The number of a place is mixed in `ROUNDS` rounds of a Feistel network over the next power of four;
        what falls beyond the last row is mixed again until it does not.
        """
        half = max(1, -(-(max(self.total, 2) - 1).bit_length() // 2))
        key = np.random.Philox(key=[seed, epoch * self.workers + self.worker]).random_raw(ROUNDS)
        found = places.astype(np.uint64)
        beyond = np.ones(found.shape, bool)
        while beyond.any():
            found[beyond] = _mixed(found[beyond], key, half)
            beyond = found >= np.uint64(self.total)
        return found.astype(np.int64)

    def token_counts(self, vocabulary_size: int) -> np.ndarray:
        """How often each token occurs in the shards of all workers, padding and special ones included."""
        return sum((file.counts() for file in self._all), np.zeros(vocabulary_size, np.int64))


def _mixed(numbers: np.ndarray, keys: np.ndarray, half: int) -> np.ndarray:
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    left, right = numbers >> shift, numbers & mask
    with np.errstate(over="ignore"):
        for key in keys:
            mixed = (right + key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
    return (left << shift) | right


def packed_files(corpus: Corpus) -> list[RowsFile]:
    """The files of a corpus that are shards of packed rows: all of them, or none.

    Raises:
        ConfigError: for shards beside other files, whose documents they could not be packed with.
    """
    found = [read_description(path) for path in corpus.files if holds_token_ids(path)]
    packed = [file for file in found if file is not None]
    if other := next((file for file in packed if file.apart != packed[0].apart), None):
        raise ConfigError(
            "Shards that are read together must all keep the documents of a row apart, or none. Received: "
            f"`{packed[0].path}` and `{other.path}`, which differ. Tokenize all text alike, with --packed or "
            "with --no-packed."
        )
    if packed and len(packed) < len(corpus.files):
        text = next(path for path in corpus.files if path not in {file.path for file in packed})
        raise ConfigError(
            f"Packed rows are read as they are, so all files must hold some, or none. Received: "
            f"`{packed[0].path}`, which does, and `{text}`, which does not. Tokenize all text at once."
        )
    return packed


def open_shards(
    files: Sequence[RowsFile],
    corpus: Corpus,
    vocabulary: Vocabulary,
    *,
    length: int,
    worker: int = 0,
    workers: int = 1,
) -> TokenStore:
    """The rows of shards, for a model with this vocabulary.

    Args:
        files: from `packed_files`.
        corpus: says which share is held out; with 1 all rows are.
        vocabulary: that of the model.
        length: tokens of a row, as the run wants them.
        worker: which of `workers` reads.
        workers: how many share the rows to train on.

    Raises:
        ConfigError: for shards of another vocabulary, tokenizer, length or share, or some that are missing.
    """
    for file in files:
        _check(file, corpus, vocabulary, length)
    _check_complete(files)
    ordered = sorted(files, key=lambda file: (file.facts["job"], file.facts["unit"], file.path.name))
    sides = {side: [file for file in ordered if file.facts["side"] == side] for side in ("train", "held_out")}
    if corpus.held_out >= 1:
        sides = {"train": [], "held_out": ordered}
    counts = {side: sum(file.facts["documents"] for file in found) for side, found in sides.items()}
    split = Split(corpus.held_out)
    split.train, split.held_out = counts["train"], counts["held_out"]
    split.check([file.path for file in ordered])
    tokens = sum(file.facts["tokens"] for file in ordered)
    content = [[file.facts["side"], file.facts["digest"]] for file in ordered]
    # Which rows share a batch depends on the workers here, as each has its own.
    key = json.dumps([content, workers] if workers > 1 else content)
    return TokenStore(
        ShardRows(sides["train"], length, worker=worker, workers=workers),
        ShardRows(sides["held_out"], length),
        hashlib.blake2b(key.encode(), digest_size=8).hexdigest(),
        (counts["train"], counts["held_out"]),
        None,  # the bytes of the text are not known here
        sum(file.facts["unknown"] for file in ordered) / max(tokens, 1),
        [[str(file.path), file.path.stat().st_size, file.facts["digest"]] for file in ordered],
    )


def _check(file: RowsFile, corpus: Corpus, vocabulary: Vocabulary, length: int) -> None:
    again = "Tokenize the text again"
    for name, wanted, rule, advice in (
        (
            "vocabulary",
            vocabulary_digest(vocabulary),
            "Token ids must come from the model's vocabulary",
            again,
        ),
        ("tokenizer", tokenizer_digest(vocabulary), "Token ids must come from the model's tokenizer", again),
        ("length", length, "Rows have the length they were packed to", "Give that as --length"),
        (
            "held_out",
            corpus.held_out,
            "Packed rows are split as they were tokenized",
            "Give that share as --held-out, or tokenize the text again",
        ),
    ):
        if name == "held_out" and corpus.held_out >= 1:
            continue
        if file.facts[name] != wanted:
            raise ConfigError(
                f"{rule}. Received: `{file.path}` with {name} {file.facts[name]}, and a run with {wanted}. "
                f"{advice}."
            )


def _check_complete(files: Sequence[RowsFile]) -> None:
    """All shards of both sides of every job must be there, or text would be missing in silence."""
    found: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for file in files:
        key = (file.facts["job"], file.facts["units"])
        found.setdefault(key, set()).add((file.facts["side"], file.facts["unit"]))
    for (_, units), there in found.items():
        if missing := 2 * units - len(there):
            folder = files[0].path.parent
            raise ConfigError(
                f"All shards that were made together must be read together. Received: {len(there)} of "
                f"{2 * units}; {missing} are missing. Name them all ({folder}/*.tfrecord), or run `tf-mlm "
                "tokenize` to its end."
            )
