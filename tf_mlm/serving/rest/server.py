"""REST over TCP: an event loop that keeps the connections, and threads that answer requests."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
from typing import Any

from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.connection import DRAIN_PAUSE, Connection
from tf_mlm.serving.rest.connection_table import ConnectionTable
from tf_mlm.serving.rest.request_threads import Api, RequestThreads

_log = logging.getLogger(__name__)
_START_TIMEOUT = 30.0
_BACKLOG = 1024
_ROUNDS_OF_ACCEPTING = 8
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)


class RestServer:
    """Listens on a TCP port from a thread of its own.

    Attributes:
        port: the port in use.
        loop: the event loop of that thread.
        connections: those that are open.
        threads: those that answer requests.

    Raises:
        OSError: when it cannot listen.
    """

    def __init__(self, api: Api, options: ServerOptions) -> None:
        assert options.rest_port is not None
        self._options = options
        self._socket = _listen(options.rest_host, options.rest_port)
        self.port: int = self._socket.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._on_loop_error)
        self.connections = ConnectionTable(options)
        self.threads = RequestThreads(api, options, self.loop)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_TIMEOUT):
            raise OSError("the HTTP server did not start; see the log above")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._listener = await self.loop.create_server(self._connection, sock=self._socket, backlog=_BACKLOG)
        self._started.set()
        await self.connections.emptied.wait()

    def _connection(self) -> Connection:
        return Connection(self._options, self.connections, self.threads)

    def stop(self, grace: float) -> None:
        """Refuses new connections, answers the requests that have come, for at most `grace` seconds."""
        with contextlib.suppress(RuntimeError):  # stopped before
            self.loop.call_soon_threadsafe(lambda: self.loop.create_task(self._drain(grace)))
        self._thread.join(grace + 5)
        self.threads.close()
        self._socket.close()

    async def _drain(self, grace: float) -> None:
        if not self._listener.is_serving():
            return
        # When its server closes, asyncio loses what it has accepted but not yet made a connection of, which
        # takes it some rounds.
        self.loop.remove_reader(self._socket)
        for _ in range(_ROUNDS_OF_ACCEPTING):
            await asyncio.sleep(0)
        waiting = _accept_all(self._socket)
        self._listener.close()
        await asyncio.gather(
            *(self.loop.connect_accepted_socket(self._connection, sock=one) for one in waiting),
            return_exceptions=True,
        )
        self.loop.call_later(min(DRAIN_PAUSE, grace), self.connections.close_waiting)
        self.loop.call_later(grace, self._abort_all)
        self.connections.drain()

    def _abort_all(self) -> None:
        self.connections.abort_all()
        self.loop.call_soon(self.connections.emptied.set)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_FILES:
            # asyncio tries again in a second; until then there is room.
            _log.error("No file can be opened (%s); idle connections are closed. Raise ulimit -n", error)
            self.connections.evict(64)
            return
        loop.default_exception_handler(context)


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    """The connections that wait to be accepted: closing the listener would reset them, requests and all."""
    accepted = []
    # From here on the queue takes no more: a client's first packet is dropped, and the next one refused.
    listener.listen(0)
    with contextlib.suppress(OSError):  # none is left, or no file
        while True:
            accepted.append(listener.accept()[0])
    return accepted


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
