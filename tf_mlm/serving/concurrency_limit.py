"""So many requests at work at once, the others in line; no model takes the last place.

Standard library only.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from tf_mlm.serving.call import LOOK_SECONDS, Call, StuckCalls
from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.options import MAX_STUCK_RUNS, spare

_log = logging.getLogger(__name__)


class _Holder:
    """One call that has a place, or waits for it."""

    def __init__(self, call: Call, model: str) -> None:
        self.call, self.model = call, model
        self.turn = threading.Event()
        self.stuck = False  # has given its place to another


class ConcurrencyLimit:
    """Lets a number of calls work at the same time; the others wait their turn, first come, first served.

    Unlike a semaphore's, its line is left by calls whose client has gone. One model may hold `places`; a
    quarter more is kept for the others, so that a model that never answers does not silence them. A call that
    goes on although nobody waits for it gives its place to the next; after too many of those, no more begin.

    Args:
        places: calls to one model that may work at once.

    Example:
        >>> from tf_mlm.serving.call import Call
        >>> from tf_mlm.serving.concurrency_limit import ConcurrencyLimit
        >>> limit = ConcurrencyLimit(1)
        >>> with limit.place(Call(), "mlm"), limit.place(Call(), "another"):
        ...     with limit.place(Call(timeout=0.01), "mlm"):
        ...         pass
        Traceback (most recent call last):
        tf_mlm.serving.errors.ServingError: DEADLINE_EXCEEDED: Timed out waiting for notification
    """

    def __init__(self, places: int) -> None:
        self._places, self._all_places = places, places + spare(places)
        self._changed = threading.Condition()
        self._holders: set[_Holder] = set()
        self._taken: collections.Counter[str] = collections.Counter()  # by model, without those stuck
        self._line: list[_Holder] = []
        self._stuck_calls, self._stuck = StuckCalls(), 0
        self._is_closed = False
        threading.Thread(target=self._watch, name="concurrency-limit", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Calls in line."""
        return len(self._line)

    @property
    def working(self) -> int:
        """Calls that have a place, or had one and have not ended."""
        return len(self._holders)

    @contextlib.contextmanager
    def place(self, call: Call, model: str) -> Iterator[None]:
        """A place for as long as the block runs, waited for as long as somebody waits for the call.

        Raises:
            ServingError: CANCELLED or DEADLINE_EXCEEDED before it was its turn; UNAVAILABLE where too many
                calls go on for nobody.
        """
        holder = _Holder(call, model)
        self._enter(holder)
        try:
            yield
        finally:
            self._leave(holder)

    def _enter(self, holder: _Holder) -> None:
        with self._changed:
            if self._stuck >= MAX_STUCK_RUNS:
                raise ServingError(
                    Code.UNAVAILABLE,
                    f"{self._stuck} earlier requests go on although nobody waits for them; no more are begun "
                    "until they end",
                )
            if self._has_room(holder.model):
                self._take(holder)
                return
            self._line.append(holder)
            self._changed.notify()
        with holder.call.when_cancelled(holder.turn.set):
            holder.turn.wait(holder.call.remaining())
        with self._changed:
            if holder in self._holders:
                return
            self._line.remove(holder)
        raise holder.call.error()

    def _has_room(self, model: str) -> bool:
        return self._taken[model] < self._places and self._taken.total() < self._all_places

    def _take(self, holder: _Holder) -> None:
        self._holders.add(holder)
        self._taken[holder.model] += 1
        holder.turn.set()

    def _give_away(self, model: str) -> None:
        """A place of a model is free: the first in line who may take it does."""
        self._taken[model] -= 1
        if not self._taken[model]:
            del self._taken[model]  # names cost memory
        for position, waiting in enumerate(self._line):
            if self._has_room(waiting.model):
                del self._line[position]
                self._take(waiting)
                return

    def _leave(self, holder: _Holder) -> None:
        with self._changed:
            self._holders.remove(holder)
            if holder.stuck:
                self._stuck -= 1
            else:
                self._give_away(holder.model)

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or self._is_closed)
                if self._is_closed:
                    return
                self._look_for_stuck()
            time.sleep(LOOK_SECONDS)

    def _look_for_stuck(self) -> None:
        at_work = {holder.call: holder for holder in self._holders if not holder.stuck}
        for call in self._stuck_calls.among(at_work):
            holder = at_work[call]
            holder.stuck = True
            self._stuck += 1
            _log.warning("A request to model %.100s goes on although nobody waits for it", holder.model)
            self._give_away(holder.model)

    def close(self) -> None:
        """Ends the thread that looks for calls that go on."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
