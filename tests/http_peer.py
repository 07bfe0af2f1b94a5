"""A client that speaks HTTP over bare sockets, for the tests of the REST server."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import select
import socket
from collections.abc import Iterator
from typing import Any

TWO = b'{"instances": [2.0]}'
POST = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: a\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(TWO) + TWO
SLOW = b'{"inputs": [2000000000], "signature_name": "slow"}'
PATIENCE = 120.0
GET = b"GET /v1/models/half_plus_two HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Peer:
    """A client that speaks bytes."""

    def __init__(self, served: Any, source: str = "127.0.0.1") -> None:
        address = ("127.0.0.1", served.server.rest_port)
        self.socket = socket.create_connection(address, timeout=PATIENCE, source_address=(source, 0))
        self._file = self.socket.makefile("rb")
        self.send = self.socket.sendall

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def answer(self, method: str = "POST") -> tuple[int, bytes, Any]:
        """Status, body and headers of the next answer."""
        status = int(self._file.readline().split()[1])
        headers = http.client.parse_headers(self._file)
        return status, self._file.read(0 if method == "HEAD" else int(headers["content-length"])), headers

    def line(self) -> bytes:
        return self._file.readline()

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        with contextlib.suppress(ConnectionError):
            return self._file.read()
        return b""


def exchange(served: Any, sent: bytes) -> bytes:
    with Peer(served) as peer:
        peer.send(sent)
        return peer.rest()


def stream(served: Any, start: bytes, pieces: Iterator[bytes], limit: int) -> tuple[bytes, int]:
    """Sends pieces until the server answers; its answer, and how much had been sent."""
    with Peer(served) as connection:
        connection.send(start)
        sent = 0
        for piece in pieces:
            if sent > limit or select.select([connection.socket], [], [], 0)[0]:
                break
            with contextlib.suppress(ConnectionError):
                connection.send(piece)
            sent += len(piece)
        return connection.rest(), sent


def rest(served: Any) -> Any:
    return served.server._rest


def in_progress(served: Any) -> int:
    return rest(served).threads.requests


def counted(served: Any, status: str) -> bool:
    return f'request_count{{model_name="",status="{status}"}}' in served.http.get("/metrics").text


def gzipped(*members: bytes) -> bytes:
    return b"".join(gzip.compress(member, 1, mtime=0) for member in members)
