"""HTTP requests and replies as values, and a reply's bytes."""

from __future__ import annotations

import dataclasses
import email.utils
import functools
import http
import time

from tf_mlm.serving.errors import Code, ServingError

_REASONS = {status.value: status.phrase for status in http.HTTPStatus} | {
    499: "Client Closed Request",
    431: "Request Header Fields Too Large",
}


@dataclasses.dataclass(frozen=True)
class Request:
    """An HTTP request: method, path with its query string, lower-case header names, body.

    Attributes:
        version, keep_alive: of HTTP, and whether the connection may stay open.
        start: `time.perf_counter` when its first byte came.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | bytearray
    version: str = "1.1"
    keep_alive: bool = True
    start: float = 0.0


@dataclasses.dataclass(frozen=True)
class Reply:
    """Status, content type, body, headers beyond these, and whether the connection is closed after it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    closes: bool = False

    def to_bytes(self, request: Request | None, closes: bool) -> bytes:
        """What is written to the socket.

        Args:
            request: what is answered, if it has been read.
            closes: whether the connection is closed afterwards.
        """
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Unknown')}"]
        lines.append(f"Date: {_date(int(time.time()))}")
        if self.content_type:
            lines.append(f"Content-Type: {self.content_type}")
        lines.append(f"Content-Length: {len(self.body)}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if closes:
            lines.append("Connection: close")
        elif request is not None and request.version == "1.0":
            lines.append("Connection: keep-alive")
        head = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
        return head if request is not None and request.method == "HEAD" else head + self.body


class Refused(ServingError):
    """A request that is answered with this error, whereupon the connection is closed."""

    def __init__(self, status: int, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.status = status


def html(status: int, title: str) -> Reply:
    """The page the HTTP library itself would answer with."""
    page = f"<HTML><HEAD>\n<TITLE>{status} {title}</TITLE>\n</HEAD><BODY>\n<H1>{title}</H1>\n</BODY></HTML>\n"
    return Reply(status, page.encode(), "text/html", closes=True)


@functools.lru_cache(2)
def _date(second: int) -> str:
    return email.utils.formatdate(second, usegmt=True)
