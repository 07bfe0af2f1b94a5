"""The threads that answer complete requests, as a graph run blocks.

Every request has one; how many of them work at a time is the API's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError, as_serving_error
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.message import Refused, Reply, Request
from tf_mlm.serving.threads import Threads

_MOST_THREADS = 4096  # where requests have no limit

Answer = Callable[[Request, Reply], None]
"""Takes the reply to a request, on the event loop."""


class Api(Protocol):
    """What answers requests, as `RestApi` does."""

    def new_call(self) -> Call:
        """A call whose time begins now."""

    def answer(self, request: Request, peer: str, call: Call) -> Reply:
        """The reply to a request; it may take its time, on a thread."""

    def error_reply(self, error: ServingError, status: int | None = None, closes: bool = False) -> Reply:
        """What a client is told of a request that was not answered."""

    def record(
        self, method: str, path: str, target: Any, error: ServingError | None, seconds: float, peer: str
    ) -> None:
        """Takes note of a request that never reached `answer`."""

    def close(self) -> None:
        """Nothing more will be asked."""


class RequestThreads:
    """Answers requests, at most so many at once. Its methods are called on the event loop.

    Attributes:
        requests: those in progress.
    """

    def __init__(self, api: Api, options: ServerOptions, loop: asyncio.AbstractEventLoop) -> None:
        self._api, self._loop = api, loop
        self._limit = options.max_concurrent_requests
        self.requests = 0
        self._threads = Threads(self._limit or _MOST_THREADS)

    def begin(self, request: Request, peer: str, answer: Answer) -> Call:
        """Has a thread answer a complete request; the call, by which it can be given up.

        Raises:
            Refused: when too many are in progress.
        """
        if self._limit and self.requests >= self._limit:
            limit = self._limit
            text = f"Too many requests in progress ({limit}); try again later (--max_concurrent_requests)"
            raise Refused(429, Code.RESOURCE_EXHAUSTED, text)
        call = self._api.new_call()
        self.requests += 1

        def done(future: Future[Reply]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._end, request, peer, answer, future)

        self._threads.submit(self._api.answer, request, peer, call).add_done_callback(done)
        return call

    def _end(self, request: Request, peer: str, answer: Answer, future: Future[Reply]) -> None:
        gone = ServingError(Code.CANCELLED, "The client has gone")
        error = gone if future.cancelled() else future.exception()
        self.requests -= 1
        if error is None:
            reply = future.result()
        else:
            problem = as_serving_error(error)
            self.record(request, problem, peer)
            reply = self._api.error_reply(problem)
        answer(request, reply)

    def record(self, request: Request | None, error: ServingError, peer: str) -> None:
        """Metrics and access log of what never reaches the API."""
        method, target, start = (request.method, request.target, request.start) if request else ("", "", 0.0)
        seconds = time.perf_counter() - start if start else 0.0
        self._api.record(method, target, None, error, seconds, peer)

    def refuse(self, request: Request | None, refused: Refused, peer: str, closes: bool) -> Reply:
        """What is answered instead; it is counted and logged."""
        self.record(request, refused, peer)
        return self._api.error_reply(refused, refused.status, closes)

    def close(self) -> None:
        """Requests that still wait for a thread are not answered."""
        self._threads.close()
        self._api.close()
