"""A time budget turned into a number of steps; and one that shortens a run on a machine too slow for it."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.agreement import from_chief
from tf_mlm.training.run.loop import TrainLoop
from tf_mlm.training.strategy import worker_index

MEASURE_SECONDS = 6.0
SHARE_FOR_STEPS = 0.94
"""The rest of the time goes to evaluations, checkpoints and a machine that slows down."""
MOST_MEASURED = 2_000
RECENT_SECONDS = 45.0
CALL_SECONDS = 2.0
"""A preempted run answers within one call of the host loop, so calls are kept about this short."""


def steps_within(
    minutes: float,
    loop: TrainLoop,
    batches: Callable[[int, int], Iterator[Any]],
    variables: Mapping[str, tf.Variable],
    strategy: tf.distribute.Strategy,
) -> int:
    """How many steps fit into `minutes`, compilation and measurement included.

    Takes some steps and puts `variables` back to where they were. With several workers the clock of
    the first decides for all: each step is theirs together.
    """
    begun = time.monotonic()
    before = {name: variable.numpy() for name, variable in variables.items()}
    data = batches(0, MOST_MEASURED)
    loop.run(data, 2)  # compiles
    taken, started = 0, time.monotonic()
    longest = min(MEASURE_SECONDS, 6 * minutes)
    while taken + 10 <= MOST_MEASURED - 2:
        loop.run(data, 5)
        taken += 5
        if not from_chief(strategy, time.monotonic() - started < longest):
            break
    per_step = (time.monotonic() - started) / taken
    for name, variable in variables.items():
        variable.assign(before[name])
    left = 60 * minutes - (time.monotonic() - begun)
    return int(from_chief(strategy, max(1, int(SHARE_FOR_STEPS * left / per_step))))


class Pace:
    """How far a run goes in the time it has, and how many steps one call of the host loop takes.

    Args:
        config: `within_minutes` shortens the run; calls end where an evaluation or a checkpoint is due.
        strategy: several workers take the same steps, by the clock of the first.
        total_steps: int64 [], which the learning rate follows; set to the end of the run.
        steps: that the run has if there is time.
        used: seconds that were used before.

    Attributes:
        end: the step after which the run ends.
    """

    def __init__(
        self,
        config: TrainConfig,
        strategy: tf.distribute.Strategy,
        total_steps: tf.Variable,
        steps: int,
        *,
        used: float,
    ) -> None:
        minutes = config.within_minutes
        self._config, self._strategy, self._total_steps, self._steps = config, strategy, total_steps, steps
        self._bound = None if minutes is None else TimeBound(60 * minutes, used=used)
        self._alone = worker_index(strategy) is None
        self._count = 1 if self._alone else config.steps_per_call
        self.end = steps

    def plan(self, done: int, *, before: int | None = None, reserve: float = 0.0) -> None:
        """Sets the end anew; `reserve` seconds are left for what follows the last step.

        `before` is the end that the run had when it was stopped: the learning rate goes on where it was.
        """
        if self._bound is None:
            return
        most = before if before is not None and before > done else self._steps
        self.end = int(from_chief(self._strategy, self._bound.steps(most, done=done, reserve=reserve)))
        self._total_steps.assign(max(self.end, 1))

    def next(self, done: int) -> int:
        """The number of steps of the next call, which stops where something else is due."""
        every = (self._config.evaluate_every, self._config.checkpoint_every)
        return min(self._count, self.end - done, *(interval - done % interval for interval in every))

    def took(self, steps: int, seconds: float) -> None:
        """Keeps calls short from the time that the last one took."""
        if self._alone:  # several workers must all take the same number
            self._count = max(1, min(self._config.steps_per_call, int(CALL_SECONDS * steps / seconds)))


class TimeBound:
    """How many steps a run can take until its time is up, by its speed in the last while.

    Args:
        seconds: that the run may take, of which `used` were used before.
        clock: seconds, always rising.

    Example:
        >>> ticks = iter([0.0, 10.0, 20.0])
        >>> bound = TimeBound(100.0, clock=lambda: next(ticks))
        >>> bound.steps(100, done=10), bound.steps(100, done=20)
        (100, 100)
        >>> ticks = iter([0.0, 10.0, 30.0])
        >>> bound = TimeBound(100.0, clock=lambda: next(ticks))
        >>> bound.steps(100, done=10), bound.steps(100, done=20)
        (100, 55)
    """

    def __init__(
        self, seconds: float, *, used: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end = clock() + seconds - used
        self._marks: collections.deque[tuple[float, int]] = collections.deque()

    def steps(self, planned: int, *, done: int, reserve: float = 0.0) -> int:
        """`planned`, or as many steps as there is time for; at least those that are `done`.

        `reserve` seconds are left for what follows the last step.
        """
        now = self._clock()
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] > RECENT_SECONDS:
            self._marks.popleft()
        (since, earlier), left = self._marks[0], self._end - reserve - now
        if left <= 0:
            return done
        if done == earlier:  # the speed is not known yet
            return planned
        return min(planned, done + int(left * (done - earlier) / (now - since)))
