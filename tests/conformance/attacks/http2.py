"""HTTP/2 frames by hand: what no well-behaved library would send.

Header fields are sent as literals that nobody indexes (RFC 7541, 6.2.2), so no table is kept.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4  # the name of a setting
Fields = Iterable[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _string(text: bytes) -> bytes:
    """A length in seven bits and as many bytes more as it takes (RFC 7541, 5.1), and the octets."""
    length = len(text)
    if length < 127:
        return bytes([length]) + text
    rest, encoded = length - 127, bytearray([127])
    while rest >= 128:
        encoded.append(rest % 128 + 128)
        rest //= 128
    return bytes([*encoded, rest]) + text


def block(fields: Fields) -> bytes:
    return b"".join(b"\x00" + _string(name.encode()) + _string(value.encode()) for name, value in fields)


def grpc_fields(method: str, more: Fields = ()) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    ]


def message(data: bytes, compressed: bool = False) -> bytes:
    """A gRPC message: whether it is compressed, its length, itself."""
    return struct.pack(">BI", compressed, len(data)) + data


class Connection:
    """A connection whose peer believes it to be a gRPC client.

    Args:
        connected: a socket to a gRPC port.
        window: bytes of an answer that may come before more are allowed.
    """

    def __init__(self, connected: socket.socket, window: int = 65535) -> None:
        self.socket = connected
        setting = struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, setting))
        self._last = -1
        self._read = b""

    def stream(self) -> int:
        """The number of a new stream."""
        self._last += 2
        return self._last

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def call(self, method: str, data: bytes, more: Fields = ()) -> int:
        """A whole unary call. Returns its stream."""
        stream = self.stream()
        fields = block(grpc_fields(method, more))
        body = message(data)
        pieces = [body[at : at + 16384] for at in range(0, len(body), 16384)]
        frames = [
            frame(DATA, END_STREAM if at == len(pieces) - 1 else 0, stream, p) for at, p in enumerate(pieces)
        ]
        self.send(frame(HEADERS, END_HEADERS, stream, fields), *frames)
        return stream

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, payload) of each frame that comes, until the server closes."""
        while True:
            while len(self._read) < 9 or len(self._read) < 9 + int.from_bytes(self._read[:3], "big"):
                received = self.socket.recv(65536)
                if not received:
                    return
                self._read += received
            size = int.from_bytes(self._read[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", self._read[3:9])
            payload, self._read = self._read[9 : 9 + size], self._read[9 + size :]
            yield kind, flags, stream & 0x7FFFFFFF, payload

    def close(self) -> None:
        self.socket.close()
