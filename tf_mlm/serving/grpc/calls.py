"""The course of a gRPC call, from its first byte to the last of its answer, and what bounds each part.

    coming in → waiting for a place → being worked on → its answer being taken

A call holds a thread in the first three. One whose message does not come, or whose answer nobody reads, is
ended after a time; when too many are coming in, the connection with most of them gives up its oldest.

Handlers are registered as if requests were streams, which look the same on the wire: so they are called
when the first byte has come, and parse the message on their own thread, not on the one that serves all.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from tf_mlm.serving.access_log import AccessLog
from tf_mlm.serving.call import Call
from tf_mlm.serving.concurrency_limit import ConcurrencyLimit
from tf_mlm.serving.errors import Code, ServingError, as_serving_error
from tf_mlm.serving.grpc.connections import host_and_port
from tf_mlm.serving.grpc.incoming_calls import IncomingCalls
from tf_mlm.serving.grpc.status import status_code, status_message
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.service import Service

_log = logging.getLogger(__name__)
_MAX_LOGGED_NAME = 1024
_WATCH_PERIOD = 0.1
_MAX_INCOMING = 256
# Ending a call wakes its thread. A thousand woken together would keep everybody else waiting.
_AT_ONCE, _PAUSE = 16, 0.01
_MAX_OTHERS = 256  # questions about models, reloads, health checks
_CONTROL_SECONDS = 5.0
_PLACE_SECONDS = 1.0
_GOODBYE, _LONGEST_GOODBYE = 0.1, 1.0


@dataclasses.dataclass(frozen=True)
class Method:
    """One RPC.

    Attributes:
        api: its name in metrics and logs.
        request: the class of its message.
        model: the model that a request names.
        work: the answer to a request.
        counted: whether TF-Serving counts it in `request_count`.
        at_once: how many may be answered at the same time; `None` for the methods that run a graph, which
            share `--max_concurrent_requests`.
    """

    api: str
    request: type[Message]
    model: Callable[[Any], str]
    work: Callable[[Any, Call], Any]
    counted: bool = True
    at_once: int | None = None


class _Progress:
    """One call that has begun and is not over."""

    def __init__(self, method: Method, context: grpc.ServicerContext, call: Call, limit: float) -> None:
        self.method, self.context, self.call = method, context, call
        self.connection = context.peer()
        self.model, self.size = "", 0
        self.times_out: float | None = time.monotonic() + limit  # of what it is at now
        self.admitted = False
        self.returned = False  # its handler has
        self.ended = False  # the call has

    @property
    def kind(self) -> str:
        """Calls of one kind are counted together."""
        return "" if self.method.at_once is None else self.method.api


class GrpcCalls:
    """Everything that is being called; makes the handlers that gRPC runs.

    Args:
        service: its metrics are kept, and its limit on the time of a request.
        options: limits.
        access_log: gets a line per call.
    """

    def __init__(self, service: Service, options: ServerOptions, access_log: AccessLog) -> None:
        self._service, self._options, self._access_log = service, options, access_log
        self._places = ConcurrencyLimit(options.grpc_max_threads)
        self._changed = threading.Condition()
        self._begun: set[_Progress] = set()
        self._incoming: IncomingCalls[_Progress] = IncomingCalls(_MAX_INCOMING)
        self._admitted: collections.Counter[str] = collections.Counter()  # by method; "" for graphs
        self._in_line: collections.Counter[str] = collections.Counter()
        self._refusing = False
        self._last_refusal = 0.0
        self._closed = threading.Event()
        self._gone: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        for work in (self._watch, self._stop_gone):
            threading.Thread(target=work, name=f"grpc{work.__name__}", daemon=True).start()

    @property
    def threads(self) -> int:
        """How many threads the calls can hold at once."""
        most = self._options.max_concurrent_requests or 2**12
        return most + _MAX_INCOMING + _MAX_OTHERS

    def callers(self) -> set[tuple[str, int]]:
        """Host and port of every client that waits for an answer, or is being given one."""
        with self._changed:
            begun = list(self._begun)
        return {host_and_port(progress.connection) for progress in begun}

    def handler(self, method: Method) -> grpc.RpcMethodHandler:
        """What gRPC runs for a method."""

        def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            return self._handle(method, messages, context)

        return grpc.stream_unary_rpc_method_handler(
            handle, request_deserializer=None, response_serializer=lambda answer: answer.SerializeToString()
        )

    # ---- one call ------------------------------------------------------------------------------

    def _handle(self, method: Method, messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        start = time.perf_counter()
        remaining = context.time_remaining()
        # A call without a deadline reports one some centuries away.
        timeout = remaining if remaining is not None and remaining < 1e8 else None
        if method.at_once is None:
            call, limit = self._service.call(timeout), self._options.grpc_receive_timeout
        else:
            call, limit = Call(timeout), min(_CONTROL_SECONDS, self._options.grpc_receive_timeout)
        progress = _Progress(method, context, call, limit)
        error: ServingError | None = None
        answer = None
        try:
            self._begin(progress)
            request = self._receive(progress, messages)
            progress.model = method.model(request)
            self._admit(progress)
            graph = method.at_once is None
            with self._places.place(call, progress.model) if graph else contextlib.nullcontext():
                call.check()
                answer = method.work(request, call)
        except Exception as caught:
            error = as_serving_error(caught)
            if error is not caught:
                _log.exception("%s failed", method.api)
        finally:
            self._return(progress)
            self._service.freed_memory.request_ended(progress.size)
        self._record(progress, error, time.perf_counter() - start)
        if error is not None:
            context.abort(status_code(error.code), status_message(error.message))
        return answer

    def _receive(self, progress: _Progress, messages: Iterator[bytes]) -> Any:
        """The request, when all of it has come."""
        try:
            message = next(messages, None)
        except grpc.RpcError:  # gone, or ended for coming in too slowly
            raise ServingError(Code.CANCELLED, "The request did not come in completely") from None
        finally:
            with self._changed:
                self._incoming.discard(progress, progress.connection)
                progress.times_out = None
        if message is None:
            raise ServingError(Code.INTERNAL, "The call carries no request")
        progress.size = len(message)
        try:
            return progress.method.request.FromString(message)
        except DecodeError:
            raise ServingError(Code.INTERNAL, "Exception deserializing request!") from None

    def _record(self, progress: _Progress, error: ServingError | None, seconds: float) -> None:
        code, method = error.code if error else Code.OK, progress.method
        if method.counted:
            self._service.count(progress.model, code, seconds, method.api, "GRPC")
        peer = progress.context.peer
        self._access_log.write(
            "grpc", method.api, progress.model[:_MAX_LOGGED_NAME], code.name, seconds, peer=peer
        )

    # ---- all calls -----------------------------------------------------------------------------

    def _begin(self, progress: _Progress) -> None:
        with self._changed:
            if self._refusing:
                self._last_refusal = time.monotonic()
                raise ServingError(Code.UNAVAILABLE, "The server is shutting down")
            self._begun.add(progress)
            self._incoming.add(progress, progress.connection)
        # At the end of the call: when its answer has been taken, its client has gone, or its time is over.
        if not progress.context.add_callback(lambda: self._end(progress)):
            self._end(progress)

    def _admit(self, progress: _Progress) -> None:
        graph = progress.method.at_once is None
        limit = self._options.max_concurrent_requests if graph else progress.method.at_once
        with self._changed:
            if limit and not graph:
                self._wait_for_place(progress.kind, limit)
            if limit and self._admitted[progress.kind] >= limit:
                flag = " (--max_concurrent_requests)" if graph else ""
                raise ServingError(
                    Code.RESOURCE_EXHAUSTED, f"{limit} such calls are being answered{flag}; try again later"
                )
            self._admitted[progress.kind] += 1
            progress.admitted = True

    def _wait_for_place(self, kind: str, places: int) -> None:
        """Others of the kind may be ending just now. As many wait as can be answered, and not for long."""
        if self._in_line[kind] < places:
            self._in_line[kind] += 1
            self._changed.wait_for(lambda: self._admitted[kind] < places, _PLACE_SECONDS)
            self._in_line[kind] -= 1

    def _return(self, progress: _Progress) -> None:
        """The handler is done; what is left is that the client takes the answer."""
        with self._changed:
            progress.returned = True
            progress.times_out = time.monotonic() + self._options.grpc_answer_timeout
            self._forget_if_over(progress)

    def _end(self, progress: _Progress) -> None:
        with self._changed:
            progress.ended = True
            self._forget_if_over(progress)
            at_work = not progress.returned
        if at_work:  # not here: this is the thread that serves all connections
            self._gone.put(progress.call)

    def _stop_gone(self) -> None:
        """Stops the work of clients that have gone."""
        while (call := self._gone.get()) is not None:
            call.cancel()

    def _forget_if_over(self, progress: _Progress) -> None:
        if progress.returned and progress.ended:
            self._begun.discard(progress)
            if progress.admitted:
                self._admitted[progress.kind] -= 1
                progress.admitted = False
            self._changed.notify_all()

    def _watch(self) -> None:
        surplus: list[_Progress] = []
        while not self._closed.wait(_PAUSE if surplus else _WATCH_PERIOD):
            now = time.monotonic()
            with self._changed:
                late = [p for p in self._begun if p.times_out is not None and now >= p.times_out]
                surplus = self._incoming.surplus(_AT_ONCE)
            for progress in (*late, *surplus):
                progress.context.cancel()

    def drain(self, deadline: float) -> bool:
        """Refuses new calls and waits until those begun have been answered; whether all were by `deadline`.

        It goes on refusing until for a moment nobody has called: then the port can be closed without
        breaking off a call that was on its way.
        """
        with self._changed:
            self._refusing = True
            self._last_refusal = time.monotonic()
            while self._begun and time.monotonic() < deadline:
                self._changed.wait(max(0.01, min(0.1, deadline - time.monotonic())))
            empty = not self._begun
            quiet = min(time.monotonic() + _LONGEST_GOODBYE, max(deadline, time.monotonic() + _GOODBYE))
            while (wait := min(quiet, self._last_refusal + _GOODBYE) - time.monotonic()) > 0:
                self._changed.wait(wait)
        return empty

    def close(self) -> None:
        self._closed.set()
        self._places.close()
        self._gone.put(None)
