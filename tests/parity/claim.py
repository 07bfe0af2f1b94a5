"""A claim: a number that must not exceed a bound over many cases, and how to measure it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np

Measurements = Iterator[tuple[str, float]]
"""The name of each case, and its difference."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured for a claim.

    Attributes:
        worst: the case with the largest difference.
    """

    claim: str
    largest: float
    bound: float
    cases: int
    worst: str
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether there were cases, and every difference is a number within the bound."""
        return self.cases > 0 and self.largest <= self.bound


@dataclasses.dataclass(frozen=True)
class Claim:
    """`measure(quick)` yields the cases, a subset of them with `quick`."""

    name: str
    bound: float
    measure: Callable[[bool], Measurements]

    def run(self, quick: bool) -> Row:
        start = time.monotonic()
        worst, largest, cases = "", 0.0, 0
        for case, value in self.measure(quick):
            cases += 1
            if cases == 1 or np.isnan(value) or value > largest:
                worst, largest = case, float(value)
            if np.isnan(largest):
                break
        return Row(self.name, largest, self.bound, cases, worst, time.monotonic() - start)


def claim(name: str, bound: float) -> Callable[[Callable[[bool], Measurements]], Claim]:
    """Makes a `Claim` of the generator function that measures it."""
    return lambda measure: Claim(name, bound, measure)


def difference(ours: object, theirs: object) -> float:
    """The largest absolute difference; infinite when shapes differ."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(a - b).max(initial=0)) if a.shape == b.shape else float("inf")


def relative(ours: object, theirs: object) -> float:
    """The largest difference as a share of the largest number, where that exceeds one."""
    return difference(ours, theirs) / max(1.0, float(np.abs(np.asarray(theirs, np.float64)).max(initial=0)))
