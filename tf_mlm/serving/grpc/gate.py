"""So many at once, the others in line. Standard library only."""

from __future__ import annotations

import collections
import threading

from tf_mlm.serving.call import Call


class Gate:
    """Lets a number of calls work at the same time; the others wait their turn, first come, first served.

    Unlike a semaphore's, its line is left by calls whose client has gone.

    Example:
        >>> from tf_mlm.serving.call import Call
        >>> from tf_mlm.serving.grpc.gate import Gate
        >>> gate = Gate(1)
        >>> gate.enter(Call())
        >>> gate.enter(Call(timeout=0.01))
        Traceback (most recent call last):
        tf_mlm.serving.errors.ServingError: DEADLINE_EXCEEDED: Timed out waiting for notification
    """

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._line: collections.deque[threading.Event] = collections.deque()

    def enter(self, call: Call) -> None:
        """Takes a place, waiting for it as long as somebody waits for the call.

        Raises:
            ServingError: CANCELLED or DEADLINE_EXCEEDED; no place is held then.
        """
        turn = threading.Event()
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            self._line.append(turn)
        with call.when_cancelled(turn.set):
            turn.wait(call.remaining())
        with self._lock:
            if turn not in self._line:
                return  # `leave` called it up
            self._line.remove(turn)
        raise call.error()

    def leave(self) -> None:
        """Gives the place to the next in line."""
        with self._lock:
            if self._line:
                self._line.popleft().set()
            else:
                self._free += 1
