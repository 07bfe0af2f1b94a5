"""Section 4.8: what HTTP clients do with their connections, byte by byte."""

from __future__ import annotations

import contextlib
import json
import socket

from conformance.case import Needs, Section
from conformance.expectations import equal
from conformance.server import TIMEOUT, Server

connections = Section("4.8 Connections", Needs.SERVER)

BODY = b'{"instances": [2.0, 3.0]}'
POST = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: localhost\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKS = b"Transfer-Encoding: chunked\r\n"
UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
)


def replies(server: Server, data: bytes, count: int = 1) -> list[tuple[int, bytes]]:
    """(status, body) of so many answers to these bytes; `100 Continue` is no answer."""
    host, port = server.rest_address.rsplit(":", 1)
    answers: list[tuple[int, bytes]] = []
    with socket.create_connection((host, int(port)), TIMEOUT) as connection:
        stream = connection.makefile("rb")
        connection.sendall(data)
        while len(answers) < count:
            status = stream.readline()
            assert status, f"the connection was closed after {len(answers)} of {count} answers"
            length = 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            if status.split()[1] != b"100":
                answers.append((int(status.split()[1]), stream.read(length)))
    return answers


def answered(server: Server, data: bytes, count: int = 1) -> None:
    for status, body in replies(server, data, count):
        equal(status, 200, f"HTTP status (body {body[:200]!r})")
        equal(json.loads(body), {"predictions": [3.0, 3.5]}, "body")


connections.each(
    {
        "an offer to upgrade to h2c": (POST + UPGRADE + LENGTH + b"\r\n" + BODY,),
        "Expect: 100-continue": (POST + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY,),
        "HTTP/1.0": (POST.replace(b"1.1", b"1.0") + LENGTH + b"\r\n" + BODY,),
        "a chunked body": (POST + CHUNKS + b"\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",),
        "chunks of one byte": (
            POST + CHUNKS + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
        ),
        "header names in any case": (POST + LENGTH.upper() + b"\r\n" + BODY,),
        "thirty headers of 100 bytes": (
            POST + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 100) for n in range(30)) + LENGTH + b"\r\n" + BODY,
        ),
    },
    answered,
    "{}: answered",
)


@connections.case("several requests down one connection are answered in turn")
def _(server: Server) -> None:
    answered(server, (POST + LENGTH + b"\r\n" + BODY) * 3, 3)


@connections.case("a request after an ignored upgrade is answered")
def _(server: Server) -> None:
    answered(server, POST + UPGRADE + LENGTH + b"\r\n" + BODY + POST + LENGTH + b"\r\n" + BODY, 2)


@connections.case("half a request and a closed connection hurt nobody")
def _(server: Server) -> None:
    host, port = server.rest_address.rsplit(":", 1)
    whole = POST + LENGTH + b"\r\n" + BODY
    for size in range(0, len(whole), 7):
        with socket.create_connection((host, int(port)), TIMEOUT) as connection:
            connection.sendall(whole[:size])
    answered(server, whole)


@connections.case("noise is refused or closed, and hurts nobody")
def _(server: Server) -> None:
    host, port = server.rest_address.rsplit(":", 1)
    for noise in (bytes(range(256)), b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with socket.create_connection((host, int(port)), TIMEOUT) as connection:
            connection.sendall(noise + b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                reply = connection.recv(65536)
                status = reply.split(b" ", 2)[1:2]
                if status and reply.startswith(b"HTTP/"):
                    assert 400 <= int(status[0]) < 600, f"{noise[:20]!r} was answered {reply[:80]!r}"
    answered(server, POST + LENGTH + b"\r\n" + BODY)


SECTIONS = (connections,)
