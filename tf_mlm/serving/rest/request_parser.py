"""HTTP/1.1 requests out of bytes, each part within its limit.

The parser is httptools (llhttp, which is strict: no folded headers, no two lengths, no bare line
feeds). What it leaves to its user is done here: how large a head and a body may be, how many requests
may come ahead of their answers, upgrades that are ignored.
"""

from __future__ import annotations

import collections
import enum
import time
from typing import Protocol

import httptools

from tf_mlm.serving.errors import Code
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.message import Refused, Request

# A header costs more memory than its bytes; HTTP/2 counts so many more for each.
_HEADER_OVERHEAD = 32
_MAX_PIPELINED = 32


class Part(enum.Enum):
    """What comes next from the client."""

    REQUEST = "a request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"


class Receiver(Protocol):
    """The connection that a parser works for."""

    def wait_for(self, part: Part) -> None:
        """The parser waits for this part from now on."""

    def take(self, size: int, whole: int) -> None:
        """`size` more bytes of a body, now of `whole` bytes, are kept.

        Raises:
            Refused: when there is no room for them.
        """

    def invite_body(self) -> None:
        """The client waits for a word before it sends its body."""


class RequestParser:
    """Parses one connection's bytes.

    Attributes:
        part: what it waits for.
        requests: the complete requests, in order; taken from here by the connection.
        refused: why nothing more is read, once something has been wrong.
    """

    def __init__(self, options: ServerOptions, receiver: Receiver) -> None:
        self.part = Part.REQUEST
        self.requests: collections.deque[Request] = collections.deque()
        self.refused: Refused | None = None
        self._receiver = receiver
        self._max_head = options.rest_max_header_bytes
        self._max_body, self._max_body_flag = min(
            (options.rest_max_body_bytes, "rest_max_body_bytes"),
            (options.max_request_bytes, "max_request_bytes"),
        )
        self._parser = httptools.HttpRequestParser(self)
        self._silent = 0  # bytes fed since a head ended or a piece of body came
        self._begin()

    def _begin(self) -> None:
        self._method = ""
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._named: dict[str, str] = {}
        self._head_bytes = 0
        self._body: bytes | bytearray = b""
        self._start = 0.0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Parses what has come; requests that it completes are in `requests`, what is wrong in `refused`."""
        self._silent += len(data)
        try:
            self._parser.feed_data(data)
            if self._silent > self._max_head:
                self._refuse_head()
        except httptools.HttpParserUpgrade as upgrade:
            if not self.requests or self.requests[-1].method != "CONNECT":
                self._ignore_upgrade(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            # A callback that refuses leaves its reason; the parser reports only that it was stopped.
            if self.refused is None:
                text = f"Malformed HTTP request: {error}"
                self.refused = Refused(400, Code.INVALID_ARGUMENT, text)
        except Refused as refused:
            self.refused = refused

    def abandon(self) -> Request:
        """Forgets the request that is not complete; what there is of it."""
        request = self._collected()
        self._begin()
        return request

    def _collected(self) -> Request:
        return Request(
            self._method,
            _origin_form(self._target),
            self._named,
            self._body,
            self._parser.get_http_version(),
            self._parser.should_keep_alive(),
            self._start,
        )

    def _wait_for(self, part: Part) -> None:
        self.part = part
        self._receiver.wait_for(part)

    def _stop(self, status: int, code: Code, text: str) -> None:
        self.refused = Refused(status, code, text)
        raise self.refused

    def _ignore_upgrade(self, rest: bytes) -> None:
        """The parser stops after a head that asks for another protocol: it is given the head without."""
        head = [self._method.encode(), b" ", self._target, b" HTTP/1.1\r\n"]
        for name, value in self._headers:
            if name.lower() != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self._parser = httptools.HttpRequestParser(self)
        self._silent = 0
        self.feed(b"".join([*head, b"\r\n", rest]))

    def _refuse_head(self) -> None:
        limit = self._max_head
        if self.part is Part.HEAD and not self._headers and len(self._target) > limit // 2:
            text = f"The request target is longer than {limit} bytes (--rest_max_header_bytes)"
            self._stop(414, Code.INVALID_ARGUMENT, text)
        text = f"The request's head is larger than {limit} bytes (--rest_max_header_bytes)"
        self._stop(431, Code.INVALID_ARGUMENT, text)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._max_head:
            self._refuse_head()

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            text = f"The request is larger than the limit of {self._max_body} bytes"
            advice = "send fewer rows at once, or use gRPC"
            self._stop(413, Code.RESOURCE_EXHAUSTED, f"{text} (--{self._max_body_flag}); {advice}")

    # ---- called by httptools -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if len(self.requests) >= _MAX_PIPELINED:
            text = f"At most {_MAX_PIPELINED} requests may be sent ahead of their answers"
            self._stop(429, Code.RESOURCE_EXHAUSTED, text)
        self._begin()
        self._start = time.perf_counter()
        self._wait_for(Part.HEAD)

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        self._count_head(len(piece))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + _HEADER_OVERHEAD)
        if self.part is Part.HEAD:  # those behind a chunked body are dropped
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._silent = 0
        self._method = self._parser.get_method().decode("ascii")
        if self._parser.should_upgrade() and self._method != "CONNECT":
            return
        named = self._named
        for name, value in self._headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            named[key] = f"{named[key]}, {text}" if key in named else text
        version = self._parser.get_http_version()
        coding = named.get("transfer-encoding")
        if coding is not None and version != "1.1":
            self._stop(400, Code.INVALID_ARGUMENT, f"HTTP/{version} has no Transfer-Encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            text = f"Transfer-Encoding must be chunked. Received: {coding[:100]}"
            self._stop(501, Code.UNIMPLEMENTED, text)
        length = named.get("content-length")
        if length is not None:
            self._check_size(int(length))
        if named.get("expect", "").lower() == "100-continue" and version == "1.1" and not self.requests:
            self._receiver.invite_body()
        self._wait_for(Part.BODY)

    def on_body(self, piece: bytes) -> None:
        self._silent = 0
        size = len(self._body) + len(piece)
        self._check_size(size)
        try:
            self._receiver.take(len(piece), size)
        except Refused as refused:
            self.refused = refused
            raise
        if self._body:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        else:
            self._body = piece

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade() and self._method != "CONNECT":
            return
        self.requests.append(self._collected())
        self._begin()
        self._wait_for(Part.REQUEST)


def _origin_form(target: bytes) -> str:
    """The path and query of a request target; absolute targets lose scheme and host."""
    text = target.decode("latin-1").partition("#")[0]
    if text[:7].lower() == "http://" or text[:8].lower() == "https://":
        _, slash, path = text.partition("://")[2].partition("/")
        return slash + path or "/"
    return text
