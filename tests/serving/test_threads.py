"""Threads for requests."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import CancelledError

import pytest

from tf_mlm.serving.threads import Threads


def test_work_beyond_the_limit_waits_for_a_thread() -> None:
    threads, running, goes_on = Threads(3), threading.Semaphore(0), threading.Event()

    def work(number: int) -> int:
        running.release()
        assert goes_on.wait(60)
        return number

    futures = [threads.submit(work, number) for number in range(5)]
    for _ in range(3):
        assert running.acquire(timeout=60)
    assert not running.acquire(timeout=0)
    goes_on.set()
    assert [future.result(60) for future in futures] == list(range(5))
    threads.close()


def test_threads_are_used_again() -> None:
    threads = Threads(100)
    seen = {threads.submit(threading.get_ident).result(60) for _ in range(50)}
    # A thread that has just answered may not be waiting yet when the next work comes.
    assert len(seen) < 10
    threads.close()


def test_errors_are_the_callers() -> None:
    threads = Threads(1)
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 / 0).result(60)
    assert threads.submit(pow, 2, exp=3).result(60) == 8
    threads.close()


def test_closing_cancels_what_has_not_begun() -> None:
    threads, running, goes_on = Threads(1), threading.Event(), threading.Event()

    def work() -> bool:
        running.set()
        return goes_on.wait(60)

    begun, waiting = threads.submit(work), threads.submit(work)
    assert running.wait(60)
    threads.close()
    with pytest.raises(CancelledError):
        waiting.result(60)
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit(work)
    goes_on.set()
    assert begun.result(60)


def test_what_was_worked_on_is_let_go() -> None:
    class Body:
        pass

    threads, body = Threads(1), Body()
    reference = weakref.ref(body)
    threads.submit(id, body).result(60)
    del body
    threads.submit(int).result(60)  # the thread has turned to something else
    gc.collect()
    assert reference() is None
    threads.close()
