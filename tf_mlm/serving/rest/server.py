"""REST over TCP: an event loop that keeps the connections, and threads that answer requests.

The loop reads and writes; every complete request is answered on a thread, as a graph run blocks.
What a stranger can take is bounded here: connections in all and per address (the one that has
waited longest makes room for a new one), requests in progress, and the bytes of requests and
answers held. Long bodies have a few threads of their own, so that short ones never wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError, as_serving_error
from tf_mlm.serving.open_files import raise_open_file_limit
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.api import LONG_BODY, LongBody, Reply, Request, RestApi
from tf_mlm.serving.rest.connection import DRAIN_PAUSE, Connection, Refused

_log = logging.getLogger(__name__)
_START_TIMEOUT = 30.0
_BACKLOG = 1024
_READ_SIZE = 64 * 1024
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)


class RestServer:
    """Listens on a TCP port from a thread of its own.

    Attributes:
        port: the port in use.
        read_buffer: what arrives, for all connections, one read at a time.
        held_bytes: bodies being received or answered, and answers not yet taken.
        draining: whether the server has been told to stop.

    Raises:
        OSError: when it cannot listen.
    """

    def __init__(self, api: RestApi, options: ServerOptions) -> None:
        assert options.rest_port is not None
        self.options = options
        self._api = api
        self.max_body_bytes, self.max_body_flag = min(
            (options.rest_max_body_bytes, "rest_max_body_bytes"),
            (options.max_request_bytes, "max_request_bytes"),
        )
        self._max_connections = min(options.rest_max_connections, max(16, raise_open_file_limit() // 2))
        self.read_buffer = memoryview(bytearray(_READ_SIZE))
        self.held_bytes = 0
        self.draining = False
        self._connections: set[Connection] = set()
        self._per_address: dict[str, int] = {}
        # Connections without a complete request, those that never sent one first; longest waiting first.
        self._waiting: tuple[dict[Connection, None], dict[Connection, None]] = ({}, {})
        self._unsent: dict[Connection, None] = {}
        self._requests = 0
        self._socket = _listen(options.rest_host, options.rest_port)
        self.port: int = self._socket.getsockname()[1]
        count = options.rest_api_num_threads
        self._threads = ThreadPoolExecutor(count, "rest")
        self._long_threads = ThreadPoolExecutor(max(1, count // 8), "rest_long")
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._on_loop_error)
        self._stopped = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_TIMEOUT):
            raise OSError("the HTTP server did not start; see the log above")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._listener = await self.loop.create_server(
            lambda: Connection(self), sock=self._socket, backlog=_BACKLOG
        )
        self._started.set()
        await self._stopped.wait()

    # ---- stopping --------------------------------------------------------------------------------

    def stop(self, grace: float) -> None:
        """Refuses new connections, answers the requests that have come, for at most `grace` seconds."""
        with contextlib.suppress(RuntimeError):  # stopped before
            self.loop.call_soon_threadsafe(self._drain, grace)
        self._thread.join(grace + 5)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._long_threads.shutdown(wait=False, cancel_futures=True)
        self._socket.close()

    def _drain(self, grace: float) -> None:
        if self.draining:
            return
        self.draining = True
        self._listener.close()
        self.loop.call_later(min(DRAIN_PAUSE, grace), self._close_waiting)
        self.loop.call_later(grace, self._abort_all)
        if not self._connections:
            self._stopped.set()

    def _close_waiting(self) -> None:
        """From here on only requests that have come, or have begun to, are waited for."""
        for waiting in self._waiting:
            for connection in list(waiting):
                connection.close_if_idle()

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        self.loop.call_soon(self._stopped.set)

    # ---- connections -----------------------------------------------------------------------------

    def admit(self, connection: Connection) -> None:
        """Counts a new connection, closing the one that has waited longest where there are too many.

        Raises:
            Refused: when every other one has a request in progress.
        """
        address = connection.address
        limit = self.options.rest_max_connections_per_address
        if self._per_address.get(address, 0) >= limit and not self._evict(address):
            raise _too_many(f"from {address}", limit, "rest_max_connections_per_address")
        if len(self._connections) >= self._max_connections and not self._evict(None):
            raise _too_many("in all", self._max_connections, "rest_max_connections")
        self._connections.add(connection)
        self._per_address[address] = self._per_address.get(address, 0) + 1
        self.note_waiting(connection)

    def _evict(self, address: str | None) -> bool:
        """Closes the connection that has waited longest, whether or not of one address, if any waits."""
        for waiting in self._waiting:
            for connection in waiting:
                if address in (None, connection.address):
                    self.forget(connection)
                    connection.abort()
                    return True
        return False

    def forget(self, connection: Connection) -> None:
        """The connection is closed, or as good as."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        left = self._per_address[connection.address] - 1
        if left:
            self._per_address[connection.address] = left
        else:
            del self._per_address[connection.address]
        self._not_waiting(connection)
        self._unsent.pop(connection, None)
        if self.draining and not self._connections:
            self._stopped.set()

    def note_waiting(self, connection: Connection) -> None:
        """The connection waits for its client from now on."""
        self._not_waiting(connection)
        if connection in self._connections:
            self._waiting[connection.has_asked][connection] = None

    def _not_waiting(self, connection: Connection) -> None:
        for waiting in self._waiting:
            waiting.pop(connection, None)

    def note_unsent(self, connection: Connection, size: int) -> None:
        """Where too much is held, the answer that has been waiting longest for its client is dropped."""
        if not size:
            self._unsent.pop(connection, None)
            return
        self._unsent.setdefault(connection)
        while self.held_bytes > self.options.rest_max_buffered_bytes and len(self._unsent) > 1:
            next(iter(self._unsent)).drop_answer("and others need the memory (--rest_max_buffered_bytes)")

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_FILES:
            # asyncio tries again in a second; until then there is room.
            _log.error("No file can be opened (%s); idle connections are closed. Raise ulimit -n", error)
            for _ in range(64):
                self._evict(None)
            return
        loop.default_exception_handler(context)

    # ---- requests --------------------------------------------------------------------------------

    def begin(self, connection: Connection, request: Request) -> Call | None:
        """Has a thread answer a complete request; the call, by which it can be given up."""
        self._not_waiting(connection)
        limit = self.options.max_concurrent_requests
        if limit and self._requests >= limit:
            text = f"Too many requests in progress ({limit}); try again later (--max_concurrent_requests)"
            refused = Refused(429, Code.RESOURCE_EXHAUSTED, text)
            self.record(connection, request.method, request.target, refused, request.start)
            connection.answer(request, self._api.error_reply(refused))
            return None
        call = self._api.new_call()
        self._requests += 1
        self._submit(connection, request, call, len(request.body) > LONG_BODY)
        return call

    def _submit(self, connection: Connection, request: Request, call: Call, long: bool) -> None:
        threads = self._long_threads if long else self._threads

        def done(future: Future[Reply]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(self._end, connection, request, call, future)

        future = threads.submit(self._api.answer, request, connection.peer, call, long)
        future.add_done_callback(done)

        def give_up() -> None:
            future.cancel()  # one that still waits for a thread lets go of its body at once

        call.on_cancel(give_up)

    def _end(self, connection: Connection, request: Request, call: Call, future: Future[Reply]) -> None:
        gone = ServingError(Code.CANCELLED, "The client has gone")
        error = gone if future.cancelled() else future.exception()
        if isinstance(error, LongBody):
            self._submit(connection, request, call, True)
            return
        self._requests -= 1
        if error is None:
            reply = future.result()
        else:
            problem = as_serving_error(error)
            self.record(connection, request.method, request.target, problem, request.start)
            reply = self._api.error_reply(problem)
        connection.answer(request, reply)

    def record(
        self, connection: Connection, method: str, target: str, error: ServingError, start: float
    ) -> None:
        """Metrics and access log of what never reaches the API."""
        seconds = time.perf_counter() - start if start else 0.0
        self._api.record(method, target, None, error, seconds, connection.peer)

    def error_reply(self, refused: Refused) -> Reply:
        return self._api.error_reply(refused, refused.status, closes=True)


def _too_many(where: str, limit: int, flag: str) -> Refused:
    text = f"Too many connections {where} ({limit}), each with a request in progress; try again later"
    return Refused(503, Code.UNAVAILABLE, f"{text} (--{flag})")


def _listen(host: str, port: int) -> socket.socket:
    """`::` means both families where the machine has IPv6, else IPv4 only."""
    if host == "::":
        try:
            return _server_socket(socket.AF_INET6, host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
            host = "0.0.0.0"
    return _server_socket(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)


def _server_socket(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.create_server(
        (host, port),
        family=family,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        backlog=_BACKLOG,
    )
    # asyncio leaves sockets made elsewhere with Nagle's algorithm on, which costs 40 ms a reply.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
