"""A deadline that is moved often and seldom reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    """Calls a function when a deadline is reached. One of the loop's timers serves all of its deadlines: it
    is only moved forward, and looks again when it fires.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, reached: Callable[[], None]) -> None:
        self._loop, self._reached = loop, reached
        self._handle: asyncio.TimerHandle | None = None
        self._due: float | None = None

    @property
    def is_set(self) -> bool:
        return self._due is not None

    def set(self, seconds: float) -> None:
        """The deadline is so far from now."""
        self._due = self._loop.time() + seconds
        if self._handle is not None:
            if self._handle.when() <= self._due:
                return
            self._handle.cancel()
        self._handle = self._loop.call_at(self._due, self._fire)

    def clear(self) -> None:
        """There is no deadline."""
        self._due = None

    def close(self) -> None:
        """There will be none any more."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._due = None

    def _fire(self) -> None:
        self._handle = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._handle = self._loop.call_at(self._due, self._fire)
        else:
            self._reached()
