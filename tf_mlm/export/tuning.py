"""Which programs are fastest on this machine, bucket by bucket.

All candidates of a bucket are called in turn, round after round, so that what else the machine does meets all
of them alike, and compared by their medians.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.config import Buckets
from tf_mlm.model.programs import Programs
from tf_mlm.model.tuned_programs import Choices

SECONDS = 1.0
"""As long a bucket is measured, or for `ROUNDS`, whichever comes first; but for `FEWEST_ROUNDS`."""
ROUNDS, FEWEST_ROUNDS = 15, 3


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Median milliseconds of each candidate, by its name.

    Attributes:
        states: by (batch, length), of the encoder.
        rows: by masks, of what follows it, up to the likeliest tokens.
    """

    states: Mapping[tuple[int, int], Mapping[str, float]]
    rows: Mapping[int, Mapping[str, float]]

    @property
    def choices(self) -> Choices:
        """The fastest of each."""
        return Choices(
            {shape: fastest(times) for shape, times in self.states.items()},
            {masks: fastest(times) for masks, times in self.rows.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """A description per bucket.

        Example:
            >>> Tuning({(1, 16): {"xla": 2.0, "float": 1.5}}, {}).to_json()
            {'batch 1, length 16': {'chosen': 'float', 'milliseconds': {'xla': 2.0, 'float': 1.5}}}
        """
        named = {f"batch {batch}, length {length}": times for (batch, length), times in self.states.items()}
        named |= {f"masks {masks}": times for masks, times in self.rows.items()}
        return {
            name: {
                "chosen": fastest(times),
                "milliseconds": {one: round(value, 3) for one, value in times.items()},
            }
            for name, times in named.items()
        }


def fastest(times: Mapping[str, float]) -> str:
    """The name of the least.

    Example:
        >>> fastest({"xla": 2.0, "float": 1.5})
        'float'
    """
    return min(times, key=times.__getitem__)


def measure(candidates: Mapping[str, Programs], buckets: Buckets, vocabulary_size: int) -> Tuning:
    """Times every candidate in every bucket; XLA compiles all of them for it.

    Args:
        candidates: programs by name, two or more.
        buckets: the shapes.
        vocabulary_size: token ids are drawn below it.
    """
    chance = np.random.default_rng(0)
    states = {}
    for batch in buckets.batch:
        for length in buckets.length:
            ids = tf.constant(chance.integers(0, vocabulary_size, [batch, length]), tf.int32)
            inputs = (ids, tf.fill([batch], length), tf.zeros_like(ids))
            states[batch, length] = _medians({name: one.states for name, one in candidates.items()}, inputs)
    rows = {}
    [*specs] = next(iter(candidates.values())).row_specs
    for masks in buckets.masks:
        of_rows = [
            tf.cast(tf.constant(chance.normal(size=[masks, spec.shape[-1]])), spec.dtype) for spec in specs
        ]
        rows[masks] = _medians({name: one.top for name, one in candidates.items()}, of_rows)
    return Tuning(states, rows)


def _medians(functions: Mapping[str, Callable[..., Any]], inputs: Any) -> dict[str, float]:
    for function in functions.values():  # compiles, packs weights
        _milliseconds(function, inputs)
    found: dict[str, list[float]] = {name: [] for name in functions}
    start = time.perf_counter()
    for number in range(ROUNDS):
        if number >= FEWEST_ROUNDS and time.perf_counter() - start > SECONDS:
            break
        for name, function in functions.items():
            found[name].append(_milliseconds(function, inputs))
    return {name: statistics.median(times) for name, times in found.items()}


def _milliseconds(function: Callable[..., Any], inputs: Any) -> float:
    start = time.perf_counter()
    for output in tf.nest.flatten(function(*inputs)):
        output.numpy()  # waits for it
    return (time.perf_counter() - start) * 1000
