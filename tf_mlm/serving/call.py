"""A request that somebody waits for: until when, and whether they still do. Standard library only.

Both protocols make one `Call` per request and hand it down to whatever works on the request. The work
asks it how much time is left, and is told when the client has gone, so that nothing is computed for
nobody.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from tf_mlm.serving.errors import DEADLINE_MESSAGE, Code, ServingError

_log = logging.getLogger(__name__)
LOOK_SECONDS = 0.1
"""Between two looks for calls that go on although nobody waits for them."""
NOTICE_SECONDS = 1.0
"""What nobody waits for is given this long to notice."""


class Call:
    """How long an answer is waited for, and whether anybody still waits. Thread-safe.

    Args:
        timeout: seconds the client waits; `None` for as long as it takes.
        limit: seconds the server lets any request take; 0 or `None` for no limit.

    Attributes:
        expires: when the time is over, as `time.monotonic()` counts; `None` for never.

    Example:
        >>> from tf_mlm.serving.call import Call
        >>> call = Call(timeout=30.0)
        >>> call.over
        False
        >>> with call.when_cancelled(lambda: print("stops")):
        ...     call.cancel()
        stops
        >>> call.over
        True
    """

    def __init__(self, timeout: float | None = None, limit: float | None = None) -> None:
        self._limit = limit if limit and (timeout is None or limit < timeout) else None
        seconds = timeout if self._limit is None else self._limit
        self.expires = None if seconds is None else time.monotonic() + seconds
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: list[Callable[[], None]] = []

    def remaining(self) -> float | None:
        """Seconds left, at least 0; `None` without a limit."""
        return None if self.expires is None else max(0.0, self.expires - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the client has gone."""
        return self._cancelled

    @property
    def over(self) -> bool:
        """Whether nobody waits any more: the client has gone, or the time is over."""
        return self._cancelled or (self.expires is not None and time.monotonic() >= self.expires)

    def cancel(self) -> None:
        """The client has gone; whatever was left with `on_cancel` is called once, in this thread."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _log.exception("Stopping the work of a cancelled request failed")

    def on_cancel(self, stop: Callable[[], None]) -> None:
        """Has `stop` (which must not block) called when the call is cancelled, at once if it already is."""
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(stop)
                return
        stop()

    @contextlib.contextmanager
    def when_cancelled(self, callback: Callable[[], None]) -> Iterator[None]:
        """As `on_cancel`, for as long as the block runs."""
        self.on_cancel(callback)
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._callbacks.remove(callback)

    def error(self) -> ServingError:
        """What a request whose call is over is answered with."""
        late = self.expires is not None and time.monotonic() >= self.expires
        if self._cancelled and not late:
            return ServingError(Code.CANCELLED, "The client has gone")
        if self._limit is not None:
            return ServingError(
                Code.DEADLINE_EXCEEDED,
                f"The request took longer than the server's limit of {self._limit:g} seconds; "
                "send less at once, or raise --max_request_seconds",
            )
        return ServingError(Code.DEADLINE_EXCEEDED, DEADLINE_MESSAGE)

    def check(self) -> None:
        """Raises when work for this call is useless.

        Raises:
            ServingError: CANCELLED or DEADLINE_EXCEEDED.
        """
        if self.over:
            raise self.error()


class StuckCalls:
    """Finds the calls that go on although nobody waits for them. Not thread-safe.

    A kernel can do that which ignores its cancellation. Its place is given to another call.
    """

    def __init__(self) -> None:
        self._over_since: dict[Call, float] = {}

    def among(self, at_work: Iterable[Call]) -> list[Call]:
        """Those that were seen to be over `NOTICE_SECONDS` ago, and at every look since then."""
        now = time.monotonic()
        self._over_since = {call: self._over_since.get(call, now) for call in at_work if call.over}
        return [call for call, since in self._over_since.items() if now - since >= NOTICE_SECONDS]
