"""Room for new gRPC connections: where there are too many, those that have been silent longest are closed.

gRPC's server in Python neither lists its connections nor tells which of them has ever said anything, and when
it holds as many as it may, it turns new ones away until a time-out ends an old one. The kernel knows both, so
it is asked: which of the process's sockets belong to the port, and how long each has been silent. On Linux
only; elsewhere the time-outs have to do. Standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import struct
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Set
from typing import Any

_log = logging.getLogger(__name__)
_OWN_FILES = "/proc/self/fd"
_PERIOD = 0.05  # seconds
# The kernel's `struct tcp_info`: eight bytes, 24 numbers of 32 bits, four of 64.
_TCP_INFO = struct.Struct("8x24I4Q")
_LAST_DATA_RECEIVED, _BYTES_RECEIVED = 11, 27
# A client's greeting is shorter than this, and one with its first call longer.
_GREETING_BYTES = 256


@dataclasses.dataclass(frozen=True)
class _Connection:
    """One connection of the port.

    Attributes:
        file: a descriptor of its socket.
        peer: host and port of the client.
        silent: for how many milliseconds nothing has come from it.
        received: how many bytes have come from it.
    """

    file: int
    peer: tuple[str, int]
    silent: int
    received: int


class ConnectionWatch:
    """Closes the most silent connections of a TCP port while it has more than three quarters of its limit.

    Those that have never made a call go first. Connections with a call in progress stay.

    Args:
        port: where the server listens.
        limit: the connections that the server takes.
        callers: host and port of the clients that wait for an answer.
    """

    def __init__(self, port: int, limit: int, callers: Callable[[], Set[tuple[str, int]]]) -> None:
        self._port, self._limit, self._callers = port, limit, callers
        self._closed = threading.Event()
        if os.path.isdir(_OWN_FILES) and hasattr(socket, "TCP_INFO"):
            threading.Thread(target=self._watch, name="grpc_connections", daemon=True).start()

    def _watch(self) -> None:
        while not self._closed.wait(_PERIOD):
            try:
                self.make_room()
            except OSError as error:  # no descriptor is left, perhaps: the next round may find one
                _log.debug("gRPC connections were not counted: %s", error)

    def make_room(self) -> int:
        """Closes what is too many; how many that were."""
        most = self._limit * 3 // 4
        if len(os.listdir(_OWN_FILES)) <= most:
            return 0
        connections = list(_connections(self._port))
        if len(connections) <= most:
            return 0
        callers = self._callers()
        waiting = [connection for connection in connections if connection.peer not in callers]
        waiting.sort(key=lambda one: (one.received >= _GREETING_BYTES, -one.silent))
        closed = 0
        for connection in waiting[: len(connections) - self._limit // 2]:
            closed += _shut(connection, self._port)
        return closed

    def close(self) -> None:
        """Stops watching."""
        self._closed.set()


@contextlib.contextmanager
def _socket(file: int, port: int) -> Iterator[socket.socket | None]:
    """A socket of the port behind a descriptor, under a descriptor of one's own: others close theirs."""
    duplicate = os.dup(file)
    try:
        own = socket.socket(fileno=duplicate)
    except OSError:  # no socket
        os.close(duplicate)
        yield None
        return
    with own:
        yield own if _is_connected_at(own, port) else None


def _is_connected_at(own: socket.socket, port: int) -> bool:
    if own.family not in (socket.AF_INET, socket.AF_INET6) or own.type != socket.SOCK_STREAM:
        return False
    if own.getsockname()[1] != port:
        return False
    with contextlib.suppress(OSError):  # the one that listens has no peer
        return bool(own.getpeername())
    return False


def _connections(port: int) -> Iterator[_Connection]:
    for name in os.listdir(_OWN_FILES):
        with contextlib.suppress(OSError), _socket(int(name), port) as own:
            if own is not None:
                info = _TCP_INFO.unpack(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
                silent, received = info[_LAST_DATA_RECEIVED], info[_BYTES_RECEIVED]
                yield _Connection(int(name), _host_and_port(own.getpeername()), silent, received)


def _shut(connection: _Connection, port: int) -> bool:
    with contextlib.suppress(OSError), _socket(connection.file, port) as own:
        if own is not None and _host_and_port(own.getpeername()) == connection.peer:
            own.shutdown(socket.SHUT_RDWR)  # gRPC reads an end, and closes
            return True
    return False


def _host_and_port(address: Any) -> tuple[str, int]:
    return _plain(str(address[0])), int(address[1])


def _plain(host: str) -> str:
    """Without the scope of a link-local address, and as version 4 where it is one in version 6's clothes."""
    return host.partition("%")[0].removeprefix("::ffff:")


def host_and_port(peer: str) -> tuple[str, int]:
    """What gRPC calls a peer, apart.

    Example:
        >>> from tf_mlm.serving.grpc.connections import host_and_port
        >>> host_and_port("ipv4:127.0.0.1:54321"), host_and_port("ipv6:%5B::1%5D:54321")
        (('127.0.0.1', 54321), ('::1', 54321))
        >>> host_and_port("unix:")
        ('', 0)
    """
    host, _, port = urllib.parse.unquote(peer.partition(":")[2]).rpartition(":")
    return _plain(host.strip("[]")), int(port) if port.isdigit() else 0
