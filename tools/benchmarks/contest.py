"""One piece of work, done in turn by every contender: answers compared first, then times as ratios."""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

OURS = "tf_mlm"
PAUSE = 0.005
"""Seconds before each call, so that nobody meets threads that another one left spinning."""
Contender = Callable[[], Any]


class DisagreementError(AssertionError):
    """A contender computed something else, so its time would mean nothing."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Peer time over our time, round by round: above 1 we are faster."""

    low: float
    median: float
    high: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Medians in milliseconds, and each peer's ratio to ours.

    Attributes:
        work: what was done.
        milliseconds: median per contender.
        ratios: per peer.
        difference: the largest difference of answers that was seen.
        floor: median milliseconds that bytes or arithmetic alone would take, when the work has such a bound.
        items: how many tokens, texts or the like the work treats, when each has a cost of interest.
        unit: what the medians count: `MB` of peak memory where it is not time.
    """

    work: str
    milliseconds: Mapping[str, float]
    ratios: Mapping[str, Ratio]
    difference: float
    floor: float | None = None
    items: int | None = None
    unit: str = "ms"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def compete(
    work: str,
    contenders: Mapping[str, Contender],
    *,
    rounds: int = 100,
    seconds: float = 10.0,
    tolerance: float | None = 1e-3,
    floor: Callable[[], float] | None = None,
    items: int | None = None,
    settle: int = 0,
) -> Outcome:
    """Times contenders in turn, A B C A B C ..., so that all of them meet the same machine.

    Args:
        work: the row's name.
        contenders: name to a call that returns its answer as an array; `tf_mlm` must be among them.
        rounds: how often each runs, unless `seconds` are over first (at least three times).
        seconds: about how long all rounds may take.
        tolerance: the largest difference between answers; None when answers are not numbers.
        floor: says what `Outcome.floor` is right now; asked in every round, as speeds drift.
        items: see `Outcome`.
        settle: calls before each timed one. Milliseconds of work need them: what ran before has emptied the
            caches, and a server would not run another engine between two requests.

    Raises:
        DisagreementError: when answers differ by more than the tolerance; nothing is timed then.

    Example:
        >>> outcome = compete("a sum", {"tf_mlm": lambda: np.ones(3), "numpy": lambda: np.ones(3)})
        >>> sorted(outcome.ratios)
        ['numpy']
    """
    answers = {name: contender() for name, contender in contenders.items()}  # the first call compiles
    difference = 0.0
    if tolerance is not None:
        ours = np.asarray(answers[OURS], np.float64)
        for name, answer in answers.items():
            distance = float(np.abs(np.asarray(answer, np.float64) - ours).max())
            if not distance <= tolerance:
                raise DisagreementError(
                    f"All contenders must compute the same before they are timed ({work}). "
                    f"Received: {name} differs from {OURS} by {distance:.2e}, more than {tolerance:.0e}."
                )
            difference = max(difference, distance)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    floors: list[float] = []
    gc.collect()
    begun = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - begun > seconds:
            break
        for name, contender in contenders.items():
            time.sleep(PAUSE)
            for _ in range(settle):
                contender()
            started = time.perf_counter()
            contender()
            times[name].append(time.perf_counter() - started)
        if floor is not None:
            time.sleep(PAUSE)
            floors.append(floor())
    ratios = {}
    for name in contenders:
        if name != OURS:
            each = sorted(peer / own for peer, own in zip(times[name], times[OURS], strict=True))
            ratios[name] = Ratio(each[0], statistics.median(each), each[-1])
    medians = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    return Outcome(work, medians, ratios, difference, statistics.median(floors) if floors else None, items)
