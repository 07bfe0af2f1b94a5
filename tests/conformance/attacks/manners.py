"""Manners: what HTTP clients do by default, and what only rude ones do."""

from __future__ import annotations

import contextlib

from conformance.attacks.attack import Kind
from conformance.attacks.site import Site

KIND = Kind("manners")
BODY = b'{"instances": [2.0, 3.0]}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
PATH = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
)
# What was sent → the only right statuses. 0 stands for a closed connection.
REQUESTS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "Upgrade: h2c": (PATH + UPGRADE + LENGTH + b"\r\n" + BODY, (200,)),
    "Upgrade: h2c, chunked": (
        PATH + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
        (200,),
    ),
    "Upgrade: websocket": (
        PATH
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        + b"Sec-WebSocket-Version: 13\r\n"
        + LENGTH
        + b"\r\n"
        + BODY,
        (200,),
    ),
    "Upgrade of a GET": (b"GET /v1/models/half_plus_two HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"\r\n", (200,)),
    "Expect: 100-continue": (PATH + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY, (200,)),
    "HTTP/1.0": (PATH.replace(b"1.1", b"1.0") + LENGTH + b"\r\n" + BODY, (200,)),
    "HTTP/1.0 without a host": (b"GET /v1/models/half_plus_two HTTP/1.0\r\n\r\n", (200,)),
    "a whole URL": (
        PATH.replace(b"POST /", b"POST http://localhost/") + LENGTH + b"\r\n" + BODY,
        (200, 400, 404),
    ),
    "lower-case headers": (PATH.replace(b"Host", b"host") + LENGTH.lower() + b"\r\n" + BODY, (200,)),
    "chunks of one byte": (
        PATH
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
        + b"0\r\n\r\n",
        (200,),
    ),
    "trailers": (
        PATH
        + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY)
        + BODY
        + b"\r\n0\r\nX-Checksum: 1\r\n\r\n",
        (200,),
    ),
    "length and chunks": (
        PATH + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        (400, 0),
    ),
    "two lengths": (PATH + LENGTH + b"Content-Length: 3\r\n\r\n" + BODY, (400, 0)),
    "a negative length": (PATH + b"Content-Length: -1\r\n\r\n", (400, 0)),
    "a length of 2^64": (PATH + b"Content-Length: 18446744073709551616\r\n\r\n", (400, 413, 0)),
    "a length beyond the limit": (PATH + b"Content-Length: 99999999999\r\n\r\n", (400, 413, 0)),
    "blanks before the colon": (PATH + b"Content-Length : 25\r\n\r\n" + BODY, (200, 400, 0)),
    "a header without a colon": (PATH + b"nonsense\r\n" + LENGTH + b"\r\n" + BODY, (400, 0)),
    "a NUL in a header": (PATH + b"X: a\x00b\r\n" + LENGTH + b"\r\n" + BODY, (200, 400, 0)),
    "bare line feeds": (
        (PATH + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
        (200, 400, 0),
    ),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, (400, 0)),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 404, 501, 505, 0)),
    "HTTP/9.9": (PATH.replace(b"1.1", b"9.9") + LENGTH + b"\r\n" + BODY, (200, 400, 505, 0)),
    "noise": (bytes(range(256)) * 4, (400, 0)),
}


def status_of(site: Site, data: bytes) -> int:
    """The status of the first answer, after any `100 Continue`; 0 where there was none."""
    with site.connect("rest", timeout=10) as connection:
        reply = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            while True:
                head, ended, rest = reply.partition(b"\r\n\r\n")
                if ended and b" 100 " in head.split(b"\r\n")[0]:
                    reply = rest
                    continue
                if ended:
                    return int(head.split(b" ", 2)[1])
                piece = connection.recv(65536)
                if not piece:
                    break
                reply += piece
    return 0


@KIND.attack("everything that clients send")
def _(site: Site) -> None:
    for title, (data, right) in REQUESTS.items():
        try:
            status = status_of(site, data)
        except TimeoutError:
            site.violated(f"{title}: no answer, and no end of the connection")
            continue
        site.answered(f"HTTP {status}" if status else "closed")
        site.expect(status in right, f"{title}: answered {status}, not one of {right}")


@KIND.attack("a second request after an upgrade that was ignored")
def _(site: Site) -> None:
    with site.connect("rest", timeout=10) as connection:
        plain = PATH + b"Connection: close\r\n" + LENGTH + b"\r\n" + BODY
        connection.sendall(PATH + UPGRADE + LENGTH + b"\r\n" + BODY + plain)
        reply = b""
        try:
            while piece := connection.recv(65536):
                reply += piece
        except OSError as error:
            site.violated(f"{type(error).__name__} after {reply[:200]!r}")
    right = reply.count(b"HTTP/1.1 200 ")
    site.expect(right == 2, f"two requests down one connection, {right} answers: {reply[:200]!r}")


KINDS = (KIND,)
