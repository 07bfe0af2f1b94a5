"""Threads for requests, which block while a graph runs. Standard library only."""

from __future__ import annotations

import _thread
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Threads:
    """As many threads as there has been work for at once, up to a limit; what is beyond it waits.

    `ThreadPoolExecutor` waits in `submit` until a new thread has started, which takes a turn of Python's
    lock: the one thread that takes in all requests would stand still in every burst of them. At the end of
    the process nothing waits for these threads.

    Args:
        most: threads.

    Example:
        >>> from tf_mlm.serving.threads import Threads
        >>> threads = Threads(2)
        >>> threads.submit(sum, [1, 2]).result()
        3
        >>> threads.close()
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._closed = False
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Has a thread do some work; never waits.

        Raises:
            RuntimeError: after `close`.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("These threads have been closed")
            self._queue.put((future, lambda: work(*arguments, **named)))
            if not self._idle.acquire(blocking=False) and self._count < self._most:
                self._count += 1
                _thread.start_new_thread(self._work, ())
        return future

    def _work(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                self._idle.release()
                item = self._queue.get()
            if item is None:
                return
            _do(*item)
            del item  # a request is not kept until the next one comes

    def close(self) -> None:
        """Cancels what no thread has begun; threads end when they have done what they do."""
        with self._lock:
            self._closed = True
            while True:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is not None:
                    item[0].cancel()
            for _ in range(self._count):
                self._queue.put(None)


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
