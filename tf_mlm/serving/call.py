"""One call, whatever its protocol: how long it may take, and whether anybody still waits for it.

A protocol makes a `Call` when a request is complete, hands it down to the run, and cancels it when
the client goes away. What works for the call asks `check` between steps, passes `remaining` to
waits, and leaves with `on_cancel` what ends a step that cannot ask.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tf_mlm.serving.errors import DEADLINE_MESSAGE, Code, ServingError


class Call:
    """A deadline and a cancellation. Thread-safe.

    Args:
        timeout: seconds from now, `None` for no limit.

    Example:
        >>> from tf_mlm.serving.call import Call
        >>> call, said = Call(timeout=5.0), []
        >>> call.on_cancel(lambda: said.append("stopped"))
        >>> call.cancel()
        >>> said, call.cancelled
        (['stopped'], True)
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._lock = threading.Lock()
        self._cancelled = False
        self._stops: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._cancelled

    def remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; `None` without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        """Raises when work for this call is useless.

        Raises:
            ServingError: CANCELLED or DEADLINE_EXCEEDED.
        """
        if self._cancelled:
            raise ServingError(Code.CANCELLED, "The client has gone")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise ServingError(Code.DEADLINE_EXCEEDED, DEADLINE_MESSAGE)

    def on_cancel(self, stop: Callable[[], None]) -> None:
        """Has `stop` called when the call is cancelled, at once if it already is."""
        with self._lock:
            if not self._cancelled:
                self._stops.append(stop)
                return
        stop()

    def cancel(self) -> None:
        """The client has gone; every `stop` left with `on_cancel` is called once, in this thread."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            stops, self._stops = self._stops, []
        for stop in stops:
            stop()
