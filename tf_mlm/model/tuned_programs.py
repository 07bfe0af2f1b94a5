"""Programs of several kinds in one: each shape runs the kind that a table in the graph names.

What is fastest depends on the processor and on the shape: XLA, TensorFlow's own products, or those of weights
as they are stored. All shapes are buckets, so the table is small, and a request is not measured.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_mlm.config import Buckets
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.programs import Programs, States


def candidates(model: MaskedLM, *, top_k: int, xla: bool, arithmetic: str) -> dict[str, Programs]:
    """The programs there are to choose from: `"xla"`, `"float"`, and what is stored if that is multiplied.

    Example:
        >>> list(candidates(model, top_k=3, xla=True, arithmetic="float"))
        ['xla', 'float']
    """
    found = {"xla": Programs(model, top_k=top_k, xla=True)} if xla else {}
    found["float"] = Programs(model, top_k=top_k, xla=False)
    if arithmetic != "float":
        found[arithmetic] = Programs(model, top_k=top_k, xla=False, arithmetic=arithmetic)
    return found


@dataclasses.dataclass(frozen=True)
class Choices:
    """The name of a candidate for each bucket.

    Attributes:
        states: by (batch, length).
        rows: by masks.
    """

    states: Mapping[tuple[int, int], str]
    rows: Mapping[int, str]


class TunedPrograms(tf.Module):
    """The functions of `Programs`, for rows and ids whose shapes are buckets.

    Args:
        candidates: programs of one model, by name.
        buckets: the shapes.
        choices: which of the candidates runs each; those that none of them runs are not in the graph.

    Example:
        >>> both = candidates(model, top_k=3, xla=True, arithmetic="float")
        >>> choices = Choices({(1, 8): "xla", (1, 16): "float"}, {4: "xla"})
        >>> buckets = Buckets((1,), (8, 16), (4,))
        >>> tuned = TunedPrograms(both, buckets, choices)
        >>> ids = tf.ones([1, 16], tf.int32)
        >>> states, *_ = tuned.states(ids, tf.constant([16]), tf.zeros_like(ids))
        >>> tuned.compilations(buckets), states.shape
        (5, TensorShape([1, 16, 16]))
    """

    def __init__(self, candidates: Mapping[str, Programs], buckets: Buckets, choices: Choices) -> None:
        super().__init__(name="tuned_programs")
        one = next(iter(candidates.values()))
        self.row_specs, self.hidden_size, self.hidden_row = one.row_specs, one.hidden_size, one.hidden_row
        self._batches, self._lengths, self._masks = buckets.batch, buckets.length, buckets.masks
        shapes = itertools.product(buckets.batch, buckets.length)
        self._of_states = [choices.states[shape] for shape in shapes]
        self._of_rows = [choices.rows[masks] for masks in buckets.masks]
        self._candidates = {
            name: programs
            for name, programs in candidates.items()
            if name in self._of_states or name in self._of_rows
        }
        self.xla = any(programs.xla for programs in self._candidates.values())
        stored = (programs.arithmetic for programs in self._candidates.values())
        self.arithmetic = next((how for how in stored if how != "float"), "float")

    def states(self, token_ids: tf.Tensor, lengths: tf.Tensor, segment_ids: tf.Tensor) -> States:
        """As `Programs.states`."""
        batch, length = tf.unstack(tf.shape(token_ids))
        place = _place(batch, self._batches) * len(self._lengths) + _place(length, self._lengths)
        return self._run("states", self._of_states, place, token_ids, lengths, segment_ids)

    def hidden(self, *rows: tf.Tensor) -> tf.Tensor:
        """As `Programs.hidden`, and so are the others of rows."""
        return self._run_rows("hidden", rows)

    def logits(self, *rows: tf.Tensor) -> tf.Tensor:
        return self._run_rows("logits", rows)

    def top(self, *rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._run_rows("top", rows)

    def head(self, rows: tf.Tensor) -> tf.Tensor:
        return self._run_rows("head", (rows,))

    def compilations(self, buckets: Buckets) -> int:
        """How many programs XLA compiles for these buckets, which are those given."""
        chosen = [*self._of_states, *self._of_rows * 4]
        return sum(self._candidates[name].xla for name in chosen)

    def _run_rows(self, part: str, rows: Sequence[tf.Tensor]) -> Any:
        return self._run(part, self._of_rows, _place(tf.shape(rows[0])[0], self._masks), *rows)

    def _run(self, part: str, chosen: Sequence[str], place: tf.Tensor, *inputs: tf.Tensor) -> Any:
        names = sorted(set(chosen))
        programs = [functools.partial(getattr(self._candidates[name], part), *inputs) for name in names]
        if len(programs) == 1:
            return programs[0]()
        table = tf.constant([names.index(name) for name in chosen])
        return tf.switch_case(tf.gather(table, place), programs)


def _place(size: tf.Tensor, buckets: Sequence[int]) -> tf.Tensor:
    """Which bucket a size is, or the one that holds it."""
    return tf.minimum(tf.searchsorted(tf.constant(buckets), [size])[0], len(buckets) - 1)
