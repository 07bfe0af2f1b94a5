"""A request to stop: SIGTERM, as clouds send it before they take a machine back, or Ctrl-C once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import tensorflow as tf


class Preemption:
    """While entered, SIGTERM and SIGINT set a flag instead of ending the process; a second one ends it.

    Args:
        strategy: with several workers, one that is told to stop stops them all, after the same step.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy
        self._signal: int | None = None
        self._previous: dict[int, Any] = {}
        self._shared = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(number, self._previous[number])

    def requested(self) -> bool:
        """Whether this worker, or any other, was told to stop."""
        own = self._signal is not None
        if not self._shared:
            return own
        flags = self._strategy.experimental_distribute_values_from_function(lambda _: tf.constant(float(own)))
        return bool(self._strategy.reduce(tf.distribute.ReduceOp.SUM, flags, axis=None) > 0)
