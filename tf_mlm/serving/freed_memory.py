"""What large requests took of the memory, given back to the system once they have ended.

glibc keeps freed memory in a heap for each of a few dozen threads. Requests of tens of megabytes, one after
the other, would each leave their share in another one. `malloc_trim` gives back what no heap uses.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

LARGE = 4 << 20  # bytes of a request
_PAUSE = 0.05  # seconds: those that end together are one


def _malloc_trim() -> Callable[[], object] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return None
    return lambda: trim(0)


_TRIM = _malloc_trim()


class FreedMemory:
    """Gives memory back soon after a large request, on a thread of its own, which starts with the first.

    Args:
        trim: how; `None` where the system has no way.

    Example:
        >>> from tf_mlm.serving.freed_memory import LARGE, FreedMemory
        >>> given_back = threading.Event()
        >>> FreedMemory(given_back.set).request_ended(LARGE)
        >>> given_back.wait(10)
        True
    """

    def __init__(self, trim: Callable[[], object] | None = _TRIM) -> None:
        self._trim = trim
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def request_ended(self, size: int) -> None:
        """Tells of a request of so many bytes; returns at once."""
        if size < LARGE or self._trim is None:
            return
        self._wanted.set()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="freed_memory", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        assert self._trim is not None
        while True:
            self._wanted.wait()
            threading.Event().wait(_PAUSE)  # by then the request itself is freed
            self._wanted.clear()
            self._trim()
