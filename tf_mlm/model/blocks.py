"""Any number of rows through programs of a few shapes.

Rows are sorted by length and run in chunks, so short ones are not padded to the longest. Chunks are gathered
into blocks of no more positions than the largest program has; what a block needs is made when its turn comes
and freed behind it, so that memory does not grow with the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_mlm.config import Buckets
from tf_mlm.model.bucketing import cheapest_chunk, in_chunks, pad_rows, round_up
from tf_mlm.model.programs import Programs
from tf_mlm.model.tuned_programs import TunedPrograms

Ids = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Which rows [n] and how wide → their token ids and segment ids, each int32 [n, width]."""


class Reads:
    """Rows for the encoder by length, and the positions that are read in them by row.

    Args:
        lengths: int32 [rows], tokens of each.
        rows: int32 [reads], the row that each is in.
        positions: int32 [reads], where in it.

    Attributes:
        order: int32 [rows], the rows as given, the shortest one first.
        lengths: int32 [rows], in that order.
        read_order: int32 [reads], the reads as given, those in the shortest row first.
        rows, positions: int32 [reads], in that order; `rows` counts in the order of the rows.
    """

    def __init__(self, lengths: tf.Tensor, rows: tf.Tensor, positions: tf.Tensor) -> None:
        self.order = tf.argsort(lengths, stable=True)
        self.lengths = tf.gather(lengths, self.order)
        rank = tf.gather(tf.math.invert_permutation(self.order), rows)
        self.read_order = tf.argsort(rank, stable=True)
        self.rows = tf.gather(rank, self.read_order)
        self.positions = tf.gather(positions, self.read_order)


class BlockRunner:
    """Runs programs over rows, in shapes that are buckets.

    Args:
        programs: what runs; the encoder's rows by `buckets.batch` and `buckets.length`.
        buckets: ascending sizes.

    Example:
        >>> blocks = BlockRunner(Programs(model, top_k=3, xla=False), Buckets((1, 2), (4, 8), (1, 4)))
        >>> reads = Reads(tf.constant([3, 6]), rows=tf.constant([1, 0, 1]), positions=tf.constant([4, 1, 2]))
        >>> def fives(rows, width):
        ...     ids = tf.fill([tf.size(rows), width], 5)
        ...     return ids, tf.zeros_like(ids)
        >>> logits = lambda *rows: [blocks.programs.logits(*rows)]
        >>> [found] = blocks.at(reads, fives, logits, [tf.TensorSpec([None, 21])])
        >>> found.shape
        TensorShape([3, 21])
    """

    def __init__(self, programs: Programs | TunedPrograms, buckets: Buckets) -> None:
        self.programs = programs
        self.buckets = buckets

    def at(
        self,
        reads: Reads,
        ids: Ids,
        program: Any,
        outputs: Sequence[tf.TensorSpec],
        *,
        extras: Sequence[tf.Tensor] = (),
    ) -> list[tf.Tensor]:
        """Runs a program at every read: results per read, in the order in which they were given.

        Args:
            reads: the rows, and the positions read in each.
            ids: the rows' tokens, made when their chunk is due.
            program: states at the reads [n, size] each and `extras` [n, ...] → results [n, ...].
            outputs: what comes out of it.
            extras: more that the program wants to know of each read.
        """
        found = self.by_row(reads, ids, program, outputs, extras=extras)
        back = tf.math.invert_permutation(reads.read_order)
        return [tf.gather(part, back) for part in found]

    def by_row(
        self,
        reads: Reads,
        ids: Ids,
        program: Any,
        outputs: Sequence[tf.TensorSpec],
        *,
        extras: Sequence[tf.Tensor] = (),
        reduce: Any = None,
    ) -> list[tf.Tensor]:
        """The same in the order of `reads.read_order`, or what `reduce` makes of each block.

        Args:
            reads: as above.
            ids: as above.
            program: as above.
            outputs: what comes out of it, or of `reduce`.
            extras: as above.
            reduce: called as `reduce(*results, rows, size)` after each block of `size` rows, with the row
                of each read in it.
        """
        most = max(self.buckets.batch[-1] * self.buckets.length[-1], self.buckets.masks[-1])
        extras = tuple(tf.gather(part, reads.read_order) for part in extras)

        def size_at(start: tf.Tensor) -> tf.Tensor:
            """As many rows as hold at most `most` reads, or one."""
            rows = tf.concat([reads.rows, tf.shape(reads.lengths)[:1]], 0)
            first = tf.searchsorted(reads.rows, [start])[0]
            return tf.gather(rows, tf.minimum(first + most, tf.size(reads.rows))) - start

        def run(start: tf.Tensor, stop: tf.Tensor, _: tf.Tensor) -> list[tf.Tensor]:
            first, last = tf.unstack(tf.searchsorted(reads.rows, [start, stop]))
            states = self._states_at(reads, ids, start, stop)
            results = self.over(program, (*states, *(part[first:last] for part in extras)), outputs)
            if reduce is None:
                return results
            return reduce(*results, reads.rows[first:last] - start, stop - start)

        return in_chunks(
            run,
            tf.shape(reads.lengths)[0],
            outputs,
            self.buckets.batch,
            lambda start: tf.maximum(size_at(start), 1),
        )

    def over(
        self, program: Any, rows: Sequence[tf.Tensor], outputs: Sequence[tf.TensorSpec]
    ) -> list[tf.Tensor]:
        """Runs a program of rows over any number of them, by `buckets.masks`."""

        def run(start: tf.Tensor, stop: tf.Tensor, size: tf.Tensor) -> list[tf.Tensor]:
            results = program(*(pad_rows(part[start:stop], size) for part in rows))
            return [result[: stop - start] for result in results]

        return in_chunks(run, tf.shape(rows[0])[0], outputs, self.buckets.masks)

    def _states_at(self, reads: Reads, ids: Ids, block: tf.Tensor, end: tf.Tensor) -> list[tf.Tensor]:
        """The model's states at the reads of rows [block, end), each [reads, size]."""
        lengths = reads.lengths[block:end]

        def run(start: tf.Tensor, stop: tf.Tensor, size: tf.Tensor) -> list[tf.Tensor]:
            some = lengths[start:stop]
            width = round_up(tf.reduce_max(tf.concat([some, [1]], 0)), self.buckets.length)
            rows = [*ids(reads.order[block + start : block + stop], width), some]
            token_ids, segment_ids, some = (pad_rows(part, size) for part in rows)
            states = self.programs.states(token_ids, some, segment_ids)
            first, last = tf.unstack(tf.searchsorted(reads.rows, [block + start, block + stop]))
            places = tf.stack([reads.rows[first:last] - block - start, reads.positions[first:last]], -1)
            return [tf.gather_nd(state, places) for state in states]

        def size_at(start: tf.Tensor) -> tf.Tensor:
            return cheapest_chunk(lengths, start, self.buckets.batch, self.buckets.length)

        return in_chunks(run, end - block, self.programs.row_specs, self.buckets.batch, size_at)
