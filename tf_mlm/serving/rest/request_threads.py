"""The threads that answer complete requests, as a graph run blocks.

Long bodies have a few threads of their own, so that short ones never wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError, as_serving_error
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.api import LONG_BODY, LongBody, RestApi
from tf_mlm.serving.rest.message import Refused, Reply, Request

Answer = Callable[[Request, Reply], None]
"""Takes the reply to a request, on the event loop."""


class RequestThreads:
    """Answers requests, at most so many at once. Its methods are called on the event loop.

    Attributes:
        requests: those in progress.
    """

    def __init__(self, api: RestApi, options: ServerOptions, loop: asyncio.AbstractEventLoop) -> None:
        self._api, self._loop = api, loop
        self._limit = options.max_concurrent_requests
        self.requests = 0
        count = options.rest_api_num_threads
        self._threads = ThreadPoolExecutor(count, "rest")
        self._long_threads = ThreadPoolExecutor(max(1, count // 8), "rest_long")

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
        self._submit(request, peer, answer, call, len(request.body) > LONG_BODY)
        return call

    def _submit(self, request: Request, peer: str, answer: Answer, call: Call, long: bool) -> None:
        threads = self._long_threads if long else self._threads

        def done(future: Future[Reply]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._end, request, peer, answer, call, future)

        future = threads.submit(self._api.answer, request, peer, call, long)
        future.add_done_callback(done)

        def give_up() -> None:
            future.cancel()  # one that still waits for a thread lets go of its body at once

        call.on_cancel(give_up)

    def _end(self, request: Request, peer: str, answer: Answer, call: Call, future: Future[Reply]) -> None:
        gone = ServingError(Code.CANCELLED, "The client has gone")
        error = gone if future.cancelled() else future.exception()
        if isinstance(error, LongBody):
            self._submit(request, peer, answer, call, True)
            return
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
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._long_threads.shutdown(wait=False, cancel_futures=True)
