"""Headers without end, over both protocols."""

from __future__ import annotations

import socket
import time

import grpc

from conformance.attacks import http2
from conformance.attacks.attack import Kind
from conformance.attacks.site import PREDICT, Site

KIND = Kind("headers without end")
CHUNK = 64 * 1024
MOST = 64 * 2**20  # bytes of a head that a server must have stopped listening to
REFUSED = (400, 413, 414, 431)


def pour(site: Site, begin: bytes, more: bytes, port: str = "rest", chunks: int = MOST // CHUNK) -> bytes:
    """Sends without end until the server answers or closes. Returns what it said."""
    with site.connect(port) as connection:
        connection.sendall(begin)
        connection.settimeout(0.0)
        end, sent = time.monotonic() + site.seconds + 20, 0
        piece = memoryview((more * (CHUNK // len(more) + 1))[:CHUNK])
        while time.monotonic() < end and sent < chunks * CHUNK:
            try:
                return connection.recv(65536)
            except BlockingIOError:
                pass
            except OSError:
                return b""
            try:
                sent += connection.send(piece)
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:
                return last_words(connection)
        site.violated(f"{sent:,} bytes of a head were taken, and nothing was said")
        return b""


def last_words(connection: socket.socket) -> bytes:
    try:
        connection.settimeout(1.0)
        return connection.recv(65536)
    except OSError:
        return b""


def refused(site: Site, answer: bytes) -> None:
    """431 or its like; closing without a word is allowed, as the client would not read it."""
    status = answer.split(b" ", 2)[1:2]
    site.answered(f"HTTP {status[0].decode()}" if status else "closed")
    if status:
        site.expect(int(status[0]) in REFUSED, f"a head without end was answered {answer[:80]!r}")


BEGIN = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: a\r\n"
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "an endless header value": (BEGIN + b"X-A: ", b"a"),
    "an endless header name": (BEGIN, b"a"),
    "endlessly many headers": (BEGIN, b"X-A: a\r\n"),
    "endlessly many empty headers": (BEGIN, b"A:\r\n"),
    "an endless path": (b"GET /v1/models/", b"a"),
    "an endless query": (b"GET /v1/models/half_plus_two?", b"a=b&"),
    "an endless method": (b"", b"A"),
    "endless empty lines": (b"", b"\r\n"),
    "an endless version": (b"GET /v1/models/half_plus_two HTTP/1.", b"1"),
    "an endless folded line": (BEGIN + b"X-A: a\r\n", b" a\r\n"),
    "an endless content length": (BEGIN + b"Content-Length: ", b"1"),
    "an endless chunk size": (BEGIN + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "an endless chunk extension": (BEGIN + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"a"),
    "endless trailers": (BEGIN + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: a\r\n"),
}


def endless(title: str, begin: bytes, more: bytes) -> None:
    @KIND.attack(f"{title}, REST")
    def _(site: Site) -> int:
        refused(site, pour(site, begin, more))
        return CHUNK


for _title, (_begin, _more) in ENDLESS.items():
    endless(_title, _begin, _more)


@KIND.attack("endless heads, sixteen at a time")
def _(site: Site) -> int:
    kinds = list(ENDLESS.values())
    site.together(16, lambda number: pour(site, *kinds[number % len(kinds)]))
    return 16 * CHUNK


@KIND.attack("a thousand headers, a header of 100 kB: stated limits")
def _(site: Site) -> None:
    many = {f"x-{number}": "a" for number in range(1000)}
    for headers in (many, {"x-a": "a" * 100_000}):
        status = site.http("POST", "/v1/models/half_plus_two:predict", b'{"instances": [1.0]}', headers)
        site.expect(status in REFUSED, f"a head of {len(str(headers))} characters was answered {status}")
    ordinary = {f"x-{number}": "a" * 100 for number in range(30)}
    status = site.http("POST", "/v1/models/half_plus_two:predict", b'{"instances": [1.0]}', ordinary)
    site.expect(status == 200, f"thirty ordinary headers were answered {status}")


@KIND.attack("a path of a megabyte")
def _(site: Site) -> int:
    for path in ("/v1/models/" + "a" * 1_000_000, "/v1/models/half_plus_two/versions/" + "9" * 1_000_000):
        site.http("GET", path)
        site.http("POST", path + ":predict", b"{}")
    return 1_000_000


@KIND.attack("an HTTP/1 head without end, gRPC port")
def _(site: Site) -> None:
    for begin, more in ((BEGIN + b"X-A: ", b"a"), (http2.PREFACE[:10], b"a"), (b"\x16\x03\x01", b"\x00")):
        site.answered("closed" if not pour(site, begin, more, "grpc") else "answered")


@KIND.attack("metadata of a megabyte, gRPC")
def _(site: Site) -> int:
    options = [("grpc.max_metadata_size", 2**24), ("grpc.absolute_max_metadata_size", 2**25)]
    with grpc.insecure_channel(site.target.grpc_address, options=options) as channel:
        for metadata in ([("x-a", "a" * 1_000_000)], [(f"x-{n}", "a" * 10) for n in range(20_000)]):
            site.call(PREDICT, b"", channel=channel, metadata=metadata)
    return 1_000_000


@KIND.attack("headers continued without end, gRPC")
def _(site: Site) -> None:
    def flood(_: int) -> None:
        with site.connect("grpc") as raw:
            connection = http2.Connection(raw)
            stream = connection.stream()
            fields = http2.block(http2.grpc_fields(PREDICT))
            piece = http2.block([("x-a", "a" * 10_000)])
            try:
                connection.send(http2.frame(http2.HEADERS, 0, stream, fields))
                for _ in site.until_over(0.005):
                    connection.send(http2.frame(http2.CONTINUATION, 0, stream, piece))
            except OSError:
                site.answered("closed")
                return
            site.answered("listened to all along")

    site.together(8, flood)


KINDS = (KIND,)
