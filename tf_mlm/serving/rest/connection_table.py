"""The open connections of a server, and what they hold together.

What a stranger can take is bounded here: connections in all and per address (the one that has waited
longest makes room for a new one), and the bytes of requests and answers held.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from tf_mlm.serving.errors import Code
from tf_mlm.serving.open_files import raise_open_file_limit
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.message import Refused

_READ_SIZE = 64 * 1024


class Connection(Protocol):
    """What the table asks of a connection.

    Attributes:
        address: the client's host, by which connections are counted.
        has_asked: whether a complete request has ever come.
    """

    address: str
    has_asked: bool

    def drop_answer(self, why: str) -> None:
        """Closes the connection of a client that does not take its answer."""

    def close_if_idle(self) -> None:
        """Closes unless a request has come, or has begun to."""

    def abort(self) -> None:
        """Closes at once; what has not been sent is dropped."""


class ConnectionTable:
    """Counts connections and the bytes that they hold. All methods run on the event loop.

    Attributes:
        read_buffer: what arrives, for all connections, one read at a time.
        held_bytes: bodies being received or answered, and answers not yet taken.
        draining: whether the server has been told to stop.
        emptied: set when it drains and the last connection has closed.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._max_connections = min(options.rest_max_connections, max(16, raise_open_file_limit() // 2))
        self.read_buffer = memoryview(bytearray(_READ_SIZE))
        self.held_bytes = 0
        self.draining = False
        self.emptied = asyncio.Event()
        self._connections: set[Connection] = set()
        self._per_address: dict[str, int] = {}
        # Connections without a complete request, longest waiting first, in the order in which they make room:
        # those that never sent one, those that did, and the new ones, of which nothing has been read yet.
        self._silent: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        self._new: dict[Connection, None] = {}
        self._waiting = (self._silent, self._idle, self._new)
        self._unsent: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def admit(self, connection: Connection) -> None:
        """Counts a new connection, closing the one that has waited longest where there are too many.

        Raises:
            Refused: when every other one has a request in progress.
        """
        address = connection.address
        limit = self._options.rest_max_connections_per_address
        if self._per_address.get(address, 0) >= limit and not self._evict(address):
            raise _too_many(f"from {address}", limit, "rest_max_connections_per_address")
        if len(self._connections) >= self._max_connections and not self._evict(None):
            raise _too_many("in all", self._max_connections, "rest_max_connections")
        self._connections.add(connection)
        self._per_address[address] = self._per_address.get(address, 0) + 1
        self._new[connection] = None
        # Its request may be there already. It has been read two rounds of the event loop from here: the
        # first begins to look for it.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._settle, connection)

    def _settle(self, connection: Connection) -> None:
        if connection in self._new:
            self.note_waiting(connection)

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
        self.note_asking(connection)
        self._unsent.pop(connection, None)
        self._note_emptied()

    def _evict(self, address: str | None) -> bool:
        """Closes the connection that has waited longest, whether or not of one address, if any waits."""
        for waiting in self._waiting:
            for connection in waiting:
                if address in (None, connection.address):
                    self.forget(connection)
                    connection.abort()
                    return True
        return False

    def evict(self, count: int) -> None:
        """Closes those that have waited longest."""
        for _ in range(count):
            self._evict(None)

    def note_waiting(self, connection: Connection) -> None:
        """The connection waits for its client from now on."""
        self.note_asking(connection)
        if connection in self._connections:
            (self._idle if connection.has_asked else self._silent)[connection] = None

    def note_asking(self, connection: Connection) -> None:
        """Its client waits from now on: a request is complete."""
        for waiting in self._waiting:
            waiting.pop(connection, None)

    def note_unsent(self, connection: Connection, size: int) -> None:
        """Where too much is held, the answer that has been waiting longest for its client is dropped."""
        if not size:
            self._unsent.pop(connection, None)
            return
        self._unsent.setdefault(connection)
        while self.held_bytes > self._options.rest_max_buffered_bytes and len(self._unsent) > 1:
            next(iter(self._unsent)).drop_answer("and others need the memory (--rest_max_buffered_bytes)")

    # ---- stopping --------------------------------------------------------------------------------

    def drain(self) -> None:
        """No connection will be added."""
        self.draining = True
        self._note_emptied()

    def _note_emptied(self) -> None:
        if self.draining and not self._connections:
            self.emptied.set()

    def close_waiting(self) -> None:
        """From here on only requests that have come, or have begun to, are waited for."""
        for waiting in self._waiting:
            for connection in list(waiting):
                connection.close_if_idle()

    def abort_all(self) -> None:
        """No request is waited for."""
        for connection in list(self._connections):
            connection.abort()


def _too_many(where: str, limit: int, flag: str) -> Refused:
    text = f"Too many connections {where} ({limit}), each with a request in progress; try again later"
    return Refused(503, Code.UNAVAILABLE, f"{text} (--{flag})")
