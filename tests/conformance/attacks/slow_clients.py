"""Clients that take their time, keep silent, never read, come and go by the thousand."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from conformance.attacks import http2
from conformance.attacks.attack import Kind
from conformance.attacks.site import ELSEWHERE, PREDICT, Site
from conformance.server import model_spec

KIND = Kind("slow clients")
CROWD = 1100
HERE = "127.0.0.1"  # where the ordinary client comes from, too
HEAD = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /v1/models/half_plus_two HTTP/1.1\r\nHost: a\r\n\r\n"


def open_crowd(
    site: Site, port: str, source: str, count: int, begin: bytes, stack: contextlib.ExitStack
) -> list[socket.socket]:
    """As many connections as are taken, each after sending `begin`."""
    crowd = []
    for number in range(count):
        try:
            connection = stack.enter_context(site.connect(port, source, timeout=5))
            connection.sendall(begin)
            connection.settimeout(0.0)
            crowd.append(connection)
        except OSError:
            site.answered("connection refused or closed")
        if number % 50 == 49:
            time.sleep(0.02)
    return crowd


def drip(site: Site, crowd: list[socket.socket], piece: Callable[[int], bytes], every: float = 0.5) -> None:
    """A little more on every connection, again and again; one that the server closed is left out."""
    for round_ in site.until_over(every):
        for connection in list(crowd):
            try:
                connection.send(piece(round_))
            except BlockingIOError:
                pass
            except OSError:
                site.answered("closed by the server")
                crowd.remove(connection)


def stalling(title: str, port: str, source: str, begin: bytes, piece: Callable[[int], bytes] | None) -> None:
    @KIND.attack(title)
    def _(site: Site) -> None:
        with contextlib.ExitStack() as stack:
            crowd = open_crowd(site, port, source, site.many(CROWD), begin, stack)
            if piece is not None:
                drip(site, crowd, piece)
            else:
                time.sleep(site.seconds)
            site.answers["still connected"] += len(crowd)


for _where, _source in (("from here", HERE), ("from elsewhere", ELSEWHERE)):
    stalling(f"1,100 bodies dripped {_where}, REST", "rest", _source, HEAD, lambda _: b" ")
    stalling(f"1,100 silent connections {_where}, REST", "rest", _source, b"", None)
    stalling(f"1,100 silent connections {_where}, gRPC", "grpc", _source, b"", None)
stalling("1,100 chunked bodies dripped, REST", "rest", HERE, CHUNKED, lambda _: b"1\r\n \r\n")
stalling("1,100 heads dripped, REST", "rest", HERE, HEAD[:60], lambda n: b"\r\nX-%d: a" % n)
stalling("1,100 idle after an answer, REST", "rest", HERE, GET, None)
stalling("1,100 bodies that never come, REST", "rest", HERE, HEAD, None)
stalling(
    "1,100 waits for 100-continue, REST", "rest", HERE, HEAD[:-2] + b"Expect: 100-continue\r\n\r\n", None
)
stalling("1,100 prefaces and no more, gRPC", "grpc", HERE, http2.PREFACE, None)
stalling("1,100 prefaces dripped, gRPC", "grpc", HERE, b"", lambda n: http2.PREFACE[n : n + 1])


def predict_request() -> bytes:
    request = predict_pb2.PredictRequest(model_spec=model_spec("half_plus_two"))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0, 3.0]))
    return request.SerializeToString()


@KIND.attack("1,100 messages begun and never ended, gRPC")
def _(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(10):
            connection = http2.Connection(stack.enter_context(site.connect("grpc")))
            crowd.append(connection)
        fields = http2.block(http2.grpc_fields(PREDICT))
        for number in range(site.many(CROWD)):
            connection = crowd[number % len(crowd)]
            stream = connection.stream()
            started = http2.message(b" " * 1000)[:10]
            with contextlib.suppress(OSError):
                connection.send(
                    http2.frame(http2.HEADERS, http2.END_HEADERS, stream, fields),
                    http2.frame(http2.DATA, 0, stream, started),
                )
        time.sleep(site.seconds)


@KIND.attack("1,100 calls begun without a message, gRPC")
def _(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        fields = http2.block(http2.grpc_fields(PREDICT))
        for _ in range(site.many(CROWD) // 50 + 1):
            connection = http2.Connection(stack.enter_context(site.connect("grpc")))
            with contextlib.suppress(OSError):
                for _ in range(50):
                    connection.send(
                        http2.frame(http2.HEADERS, http2.END_HEADERS, connection.stream(), fields)
                    )
        time.sleep(site.seconds)


@KIND.attack("two thousand connections a second, REST")
def _(site: Site) -> None:
    churn(site, "rest", b"")


@KIND.attack("two thousand connections a second, gRPC")
def _(site: Site) -> None:
    churn(site, "grpc", b"")


@KIND.attack("connections reset in the middle of a request, REST")
def _(site: Site) -> None:
    churn(site, "rest", HEAD + b"{", reset=True)


def churn(site: Site, port: str, begin: bytes, reset: bool = False) -> None:
    for _ in site.until_over(0.01):
        for _ in range(10):
            try:
                with site.connect(port, timeout=5) as connection:
                    connection.sendall(begin)
                    if reset:  # closing now sends RST instead of FIN
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                site.answered("connections")
            except OSError:
                site.answered("connection refused or closed")


@KIND.attack("ten thousand requests down one connection, REST")
def _(site: Site) -> None:
    post = HEAD.replace(b"100000", b"20") + b'{"instances": [1.0]}'
    for request in (GET, post):
        with site.connect("rest", timeout=2) as connection:
            sent = 0
            with contextlib.suppress(OSError):
                for _ in range(site.many(100)):
                    connection.sendall(request * 100)
                    sent += 100
            site.answers["requests without reading"] += sent


def raw_grpc(title: str, work: Callable[[http2.Connection, Site], None]) -> None:
    @KIND.attack(title)
    def _(site: Site) -> None:
        with site.connect("grpc", timeout=2) as raw:
            connection = http2.Connection(raw)
            try:
                work(connection, site)
                site.answered("all taken")
            except OSError:
                site.answered("closed by the server")


def rapid_reset(connection: http2.Connection, site: Site) -> None:
    for _ in site.until_over(0.01):
        for _ in range(30):
            stream = connection.call(PREDICT, predict_request())
            connection.send(http2.frame(http2.RST_STREAM, 0, stream, struct.pack(">I", 8)))


def pings(connection: http2.Connection, site: Site) -> None:
    for _ in site.until_over(0.01):
        connection.send(http2.frame(http2.PING, 0, 0, b"12345678") * 100)


def settings(connection: http2.Connection, site: Site) -> None:
    for _ in site.until_over(0.01):
        connection.send(http2.frame(http2.SETTINGS, 0, 0) * 100)


def empty_data(connection: http2.Connection, site: Site) -> None:
    stream = connection.stream()
    fields = http2.block(http2.grpc_fields(PREDICT))
    connection.send(http2.frame(http2.HEADERS, http2.END_HEADERS, stream, fields))
    for _ in site.until_over(0.01):
        connection.send(http2.frame(http2.DATA, 0, stream) * 100)


def many_streams(connection: http2.Connection, site: Site) -> None:
    for _ in site.until_over(0.01):
        for _ in range(20):
            connection.call(PREDICT, predict_request())


raw_grpc("calls taken back at once, gRPC", rapid_reset)
raw_grpc("a flood of pings, gRPC", pings)
raw_grpc("a flood of settings, gRPC", settings)
raw_grpc("a flood of empty frames, gRPC", empty_data)
raw_grpc("two thousand calls a second that nobody reads, gRPC", many_streams)


@KIND.attack("a thousand watches of its health, gRPC")
def _(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        fields = http2.block(http2.grpc_fields("/grpc.health.v1.Health/Watch"))
        for _ in range(site.many(1000) // 50 + 1):
            connection = http2.Connection(stack.enter_context(site.connect("grpc")))
            with contextlib.suppress(OSError):
                for _ in range(50):
                    stream = connection.stream()
                    connection.send(
                        http2.frame(http2.HEADERS, http2.END_HEADERS, stream, fields),
                        http2.frame(http2.DATA, http2.END_STREAM, stream, http2.message(b"")),
                    )
        time.sleep(site.seconds)


@KIND.attack("the metrics page, again and again")
def _(site: Site) -> None:
    for _ in site.until_over(0.02):
        site.http("GET", "/monitoring/prometheus/metrics")


@KIND.attack("the last connections are given back")
def _(site: Site) -> None:
    """After all of the above a new client is served at once."""
    for _ in range(20):
        status = site.post("half_plus_two", {"instances": [1.0]})
        site.expect(status == 200, f"an ordinary request was answered {status}")
        code = site.call(PREDICT, predict_request())
        site.expect(code == "OK", f"an ordinary call was answered {code}")


KINDS = (KIND,)
