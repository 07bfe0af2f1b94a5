"""One HTTP/1.1 connection: requests in, answers out, each within limits.

The parser is httptools (llhttp, which is strict: no folded headers, no two lengths, no bare line
feeds). What it leaves to its user is done here: how large a head may be and how long each part may
take, a place in the queue for complete requests only, answers that nobody reads, clients that go
away, upgrades that are ignored. uvicorn, which stood here before, has no such limits.

All methods run on the event loop.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import email.utils
import enum
import functools
import http
import time
from typing import TYPE_CHECKING, Any

import httptools

from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.rest.api import Reply, Request

if TYPE_CHECKING:
    from tf_mlm.serving.rest.server import RestServer

# A header costs more memory than its bytes; HTTP/2 counts so many more for each.
_HEADER_OVERHEAD = 32
_MAX_PIPELINED = 32
# What a client sends on while its request is answered, before its socket is left alone.
_MAX_AHEAD = 64 * 1024
# A body below this size is always taken, however much is held for others.
_SMALL_BODY = 64 * 1024
# After a refusal, what is still being sent is read and dropped for so long: a socket closed with unread
# bytes is reset, and the reset overtakes the answer.
_LINGER = 5.0
# When the server stops: a client that sent a request just before finds its connection still open.
DRAIN_PAUSE = 0.25
_FIRST_PROBE = 0.1
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_REASONS = {status.value: status.phrase for status in http.HTTPStatus} | {
    499: "Client Closed Request",
    431: "Request Header Fields Too Large",
}


class _State(enum.Enum):
    """What the connection is waiting for from its client."""

    IDLE = "a request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    CLOSING = "nothing"


class Refused(ServingError):
    """A request that is answered with this error, whereupon the connection is closed."""

    def __init__(self, status: int, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.status = status


def _too_slow(part: str, seconds: float, flag: str) -> Refused:
    text = f"The request's {part} did not come within {seconds:g} seconds (--{flag})"
    return Refused(408, Code.DEADLINE_EXCEEDED, text)


@functools.lru_cache(2)
def _date(second: int) -> str:
    return email.utils.formatdate(second, usegmt=True)


def _origin_form(target: bytes) -> str:
    """The path and query of a request target; absolute targets lose scheme and host."""
    text = target.decode("latin-1").partition("#")[0]
    if text[:7].lower() == "http://" or text[:8].lower() == "https://":
        _, slash, path = text.partition("://")[2].partition("/")
        return slash + path or "/"
    return text


class Connection(asyncio.BufferedProtocol):
    """Parses one connection's requests and writes their answers in order.

    Attributes:
        address: the client's host, by which connections are counted.
        peer: host and port, as they are logged.
        has_asked: whether a complete request has ever come.
    """

    def __init__(self, server: RestServer) -> None:
        self._server = server
        self._options = server.options
        self._loop = server.loop
        self._transport: Any = None
        self.address = self.peer = ""
        self.has_asked = False
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._state = _State.IDLE
        self._silent = 0  # bytes fed since a head ended or a piece of body came
        self._pipeline: collections.deque[Request] = collections.deque()
        self._current: Request | None = None
        self._call: Call | None = None
        self._answered = False
        self._close_after = False
        self._refusal: Refused | None = None
        self._ahead = bytearray()
        self._held = 0
        self._unsent = 0
        self._half_closed = False
        self._begin()

    def _begin(self) -> None:
        """Forgets the request whose parts were collected."""
        self._method = ""
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._named: dict[str, str] = {}
        self._head_bytes = 0
        self._body: bytes | bytearray = b""
        self._start = 0.0

    # ---- the transport ---------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        name = transport.get_extra_info("peername") or ("",)
        self.address, self.peer = str(name[0]), ":".join(map(str, name[:2]))
        # Told as soon as an answer does not fit the socket's own buffer, and once all of it has been taken.
        transport.set_write_buffer_limits(high=0)
        try:
            self._server.admit(self)
        except Refused as refused:
            self._server.record(self, "", "", refused, 0.0)
            self._write(self._server.error_reply(refused), None, True)
            self.close()
            return
        self._wait_for(_State.IDLE)

    def connection_lost(self, _error: Exception | None) -> None:
        self._stop_timer()
        self._state = _State.CLOSING
        if self._call is not None:
            self._call.cancel()
        self._hold(-self._held)
        self._pipeline.clear()
        self._ahead.clear()
        self._begin()
        self._server.forget(self)

    def get_buffer(self, _hint: int) -> memoryview:
        return self._server.read_buffer

    def buffer_updated(self, count: int) -> None:
        data = self._server.read_buffer[:count]
        if self._state is _State.CLOSING:
            return  # dropped, so that the answer is not lost
        if self._busy:
            self._ahead += data
            if len(self._ahead) > _MAX_AHEAD:
                self._transport.pause_reading()
            return
        self._feed(data)

    def eof_received(self) -> bool:
        """A client that has sent all may still read, or be gone; which, only writing to it shows."""
        if not self._busy or self._state is _State.CLOSING:
            return False
        self._half_closed = True
        self._probe(_FIRST_PROBE)
        return True

    def _probe(self, pause: float) -> None:
        """Interim answers, which clients skip, until the real one; on a closed socket they fail."""

        def probe() -> None:
            if self._busy and not self._unsent and not self._transport.is_closing():
                self._transport.write(_CONTINUE)
                self._probe(2 * pause)

        self._loop.call_later(pause, probe)

    def pause_writing(self) -> None:
        self._set_due(self._options.rest_write_timeout)

    def resume_writing(self) -> None:
        self._set_unsent(0)
        self._due = None
        if self._state is _State.CLOSING:
            self._linger()
        elif self._answered:
            self._finish()
        elif not self._busy:
            self._wait_for(self._state)

    def _set_unsent(self, size: int) -> None:
        self._hold(size - self._unsent)
        self._unsent = size
        self._server.note_unsent(self, size)

    def _hold(self, more: int) -> None:
        self._held += more
        self._server.held_bytes += more

    # ---- time ------------------------------------------------------------------------------------

    def _wait_for(self, state: _State) -> None:
        self._state = state
        seconds = {
            _State.IDLE: self._options.rest_idle_timeout,
            _State.HEAD: self._options.rest_header_timeout,
            _State.BODY: self._options.rest_body_timeout,
        }[state]
        self._set_due(seconds)

    def _set_due(self, seconds: float) -> None:
        """One timer serves all deadlines: it is only moved forward, and looks again when it fires."""
        self._due = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= self._due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due, self._on_timer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._due = None

    def _on_timer(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._on_timer)
            return
        options = self._options
        if self._unsent:
            self.drop_answer(f"in {options.rest_write_timeout:g} seconds (--rest_write_timeout_seconds)")
        elif self._state is _State.HEAD:
            self._refuse(_too_slow("head", options.rest_header_timeout, "rest_header_timeout_seconds"))
        elif self._state is _State.BODY:
            self._refuse(_too_slow("body", options.rest_body_timeout, "rest_body_timeout_seconds"))
        else:
            self.close()

    # ---- the parser ------------------------------------------------------------------------------

    def _feed(self, data: bytes | bytearray | memoryview) -> None:
        self._silent += len(data)
        try:
            self._parser.feed_data(data)
            if self._silent > self._options.rest_max_header_bytes:
                self._refuse_head()
        except httptools.HttpParserUpgrade as upgrade:
            if not self._pipeline or self._pipeline[-1].method != "CONNECT":
                self._ignore_upgrade(bytes(data[upgrade.args[0] :]))
                return
        except httptools.HttpParserError as error:
            # A callback that refuses leaves its reason; the parser reports only that it was stopped.
            if self._refusal is None:
                text = f"Malformed HTTP request: {error}"
                self._refusal = Refused(400, Code.INVALID_ARGUMENT, text)
        except Refused as refused:
            self._refusal = refused
        self._next()

    def _stop(self, status: int, code: Code, text: str) -> None:
        self._refusal = Refused(status, code, text)
        raise self._refusal

    def _ignore_upgrade(self, rest: bytes) -> None:
        """The parser stops after a head that asks for another protocol: it is given the head without."""
        head = [self._method.encode(), b" ", self._target, b" HTTP/1.1\r\n"]
        for name, value in self._headers:
            if name.lower() != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self._parser = httptools.HttpRequestParser(self)
        self._silent = 0
        self._feed(b"".join([*head, b"\r\n", rest]))

    def _refuse_head(self) -> None:
        limit = self._options.rest_max_header_bytes
        if self._state is _State.HEAD and not self._headers and len(self._target) > limit // 2:
            text = f"The request target is longer than {limit} bytes (--rest_max_header_bytes)"
            self._stop(414, Code.INVALID_ARGUMENT, text)
        text = f"The request's head is larger than {limit} bytes (--rest_max_header_bytes)"
        self._stop(431, Code.INVALID_ARGUMENT, text)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._options.rest_max_header_bytes:
            self._refuse_head()

    def on_message_begin(self) -> None:
        if len(self._pipeline) >= _MAX_PIPELINED:
            text = f"At most {_MAX_PIPELINED} requests may be sent ahead of their answers"
            self._stop(429, Code.RESOURCE_EXHAUSTED, text)
        self._begin()
        self._start = time.perf_counter()
        self._wait_for(_State.HEAD)

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        self._count_head(len(piece))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + _HEADER_OVERHEAD)
        if self._state is _State.HEAD:  # those behind a chunked body are dropped
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
        if named.get("expect", "").lower() == "100-continue" and version == "1.1" and not self._pipeline:
            self._transport.write(_CONTINUE)
        self._wait_for(_State.BODY)

    def _check_size(self, size: int) -> None:
        if size > self._server.max_body_bytes:
            text = f"The request is larger than the limit of {self._server.max_body_bytes} bytes"
            flag = self._server.max_body_flag
            self._stop(
                413, Code.RESOURCE_EXHAUSTED, f"{text} (--{flag}); send fewer rows at once, or use gRPC"
            )

    def on_body(self, piece: bytes) -> None:
        self._silent = 0
        size = len(self._body) + len(piece)
        self._check_size(size)
        if size > _SMALL_BODY and self._server.held_bytes > self._options.rest_max_buffered_bytes:
            limit = self._options.rest_max_buffered_bytes
            text = f"The server holds more than {limit} bytes of requests and answers; try again later "
            self._stop(429, Code.RESOURCE_EXHAUSTED, text + "(--rest_max_buffered_bytes)")
        self._hold(len(piece))
        if self._body:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        else:
            self._body = piece

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade() and self._method != "CONNECT":
            return
        request = Request(
            self._method,
            _origin_form(self._target),
            self._named,
            self._body,
            self._parser.get_http_version(),
            self._parser.should_keep_alive(),
            self._start,
        )
        self._pipeline.append(request)
        self._begin()
        self._state = _State.IDLE
        self._due = None

    # ---- requests and answers --------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        return self._current is not None

    def _next(self) -> None:
        """Hands the next complete request over, or waits for more of one."""
        if self._current is not None or self._state is _State.CLOSING:
            return
        if self._pipeline:
            self._current = self._pipeline.popleft()
            self._answered = False
            self._due = None
            self.has_asked = True
            self._call = self._server.begin(self, self._current)
        elif self._refusal is not None:
            self._refuse(self._refusal)
        elif self._half_closed:
            self.close()
        elif self._due is None:
            self._wait_for(self._state)

    def answer(self, request: Request, reply: Reply) -> None:
        """Writes the answer to the request that was handed over; dropped if the connection is closing."""
        if self._current is not request or self._transport.is_closing():
            return
        self._hold(-len(request.body))
        self._answered = True
        last = not self._pipeline and not self._ahead
        ends = self._half_closed or self._server.draining
        self._close_after = not request.keep_alive or reply.closes or (last and ends)
        self._write(reply, request, self._close_after)
        if not self._unsent:
            self._finish()

    def _finish(self) -> None:
        """The answer is out."""
        self._current = self._call = None
        self._answered = False
        if self._close_after:
            self._linger()
            return
        self._server.note_waiting(self)
        if self._pipeline or self._refusal is not None or not self._ahead:
            self._next()
            return
        ahead, self._ahead = self._ahead, bytearray()
        self._transport.resume_reading()
        self._feed(ahead)

    def _write(self, reply: Reply, request: Request | None, closes: bool) -> None:
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}"]
        lines.append(f"Date: {_date(int(time.time()))}")
        if reply.content_type:
            lines.append(f"Content-Type: {reply.content_type}")
        lines.append(f"Content-Length: {len(reply.body)}")
        lines += [f"{name}: {value}" for name, value in reply.headers]
        if closes:
            lines.append("Connection: close")
        elif request is not None and request.version == "1.0":
            lines.append("Connection: keep-alive")
        head = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
        bare = request is not None and request.method == "HEAD"
        self._transport.write(head if bare else head + reply.body)
        unsent = self._transport.get_write_buffer_size()
        if unsent or self._unsent:
            self._set_unsent(unsent)

    def _refuse(self, refused: Refused) -> None:
        """Answers with an error and closes."""
        method, target = self._method, _origin_form(self._target)
        self._server.record(self, method, target, refused, self._start)
        self._state = _State.CLOSING
        self._due = None
        self._hold(-len(self._body))
        self._begin()
        self._write(self._server.error_reply(refused), None, True)
        if not self._unsent:
            self._linger()

    def _linger(self) -> None:
        """Says that nothing more will come, and waits a while for the client to stop sending."""
        self._state = _State.CLOSING
        if self._transport.is_closing():
            return
        if self._half_closed:
            self._transport.close()
            return
        with contextlib.suppress(OSError):
            self._transport.write_eof()
        self._transport.resume_reading()
        self._server.note_waiting(self)
        self._set_due(DRAIN_PAUSE if self._server.draining else _LINGER)

    def drop_answer(self, why: str) -> None:
        """Closes the connection of a client that does not take its answer."""
        error = ServingError(Code.CANCELLED, f"The client did not take its answer {why}")
        request = self._current
        method, target, start = (request.method, request.target, request.start) if request else ("", "", 0.0)
        self._server.record(self, method, target, error, start)
        self._set_unsent(0)
        self.abort()

    def close_if_idle(self) -> None:
        """Closes unless a request has come, or has begun to."""
        if self._state in (_State.IDLE, _State.CLOSING) and not self._busy:
            self.close()

    def close(self) -> None:
        """Closes at once; what has been written is still sent."""
        self._state = _State.CLOSING
        self._transport.close()

    def abort(self) -> None:
        """Closes at once; what has not been sent is dropped."""
        self._state = _State.CLOSING
        self._transport.abort()
