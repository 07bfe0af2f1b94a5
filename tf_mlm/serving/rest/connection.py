"""One HTTP/1.1 connection: requests in, answers out, each within its time.

What HTTP libraries leave to their users is done here: how long each part of a request may take, a
place in the queue for complete requests only, answers that nobody reads, clients that go away. uvicorn,
which stood here before, has no such limits.

All methods run on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.connection_table import ConnectionTable
from tf_mlm.serving.rest.message import Refused, Reply, Request
from tf_mlm.serving.rest.request_parser import Part, RequestParser
from tf_mlm.serving.rest.request_threads import RequestThreads
from tf_mlm.serving.rest.timer import Timer

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


def _too_slow(part: str, seconds: float, flag: str) -> Refused:
    text = f"The request's {part} did not come within {seconds:g} seconds (--{flag})"
    return Refused(408, Code.DEADLINE_EXCEEDED, text)


class Connection(asyncio.BufferedProtocol):
    """Parses one connection's requests and writes their answers in order.

    Attributes:
        address: the client's host, by which connections are counted.
        peer: host and port, as they are logged.
        has_asked: whether a complete request has ever come.
    """

    def __init__(self, options: ServerOptions, table: ConnectionTable, threads: RequestThreads) -> None:
        self._options, self._table, self._threads = options, table, threads
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self.address = self.peer = ""
        self.has_asked = False
        self._timer = Timer(self._loop, self._on_due)
        self._parser = RequestParser(options, self)
        self._closing = False
        self._current: Request | None = None
        self._call: Call | None = None
        self._answered = False
        self._close_after = False
        self._ahead = bytearray()
        self._held = 0
        self._unsent = 0
        self._half_closed = False

    # ---- the transport ---------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        name = transport.get_extra_info("peername") or ("",)
        self.address, self.peer = str(name[0]), ":".join(map(str, name[:2]))
        # Told as soon as an answer does not fit the socket's own buffer, and once all of it has been taken.
        transport.set_write_buffer_limits(high=0)
        try:
            self._table.admit(self)
        except Refused as refused:
            self._write(self._threads.refuse(None, refused, self.peer, True), None, True)
            self.close()
            return
        self.wait_for(Part.REQUEST)

    def connection_lost(self, _error: Exception | None) -> None:
        self._timer.close()
        self._closing = True
        if self._call is not None:
            self._call.cancel()
        self._hold(-self._held)
        self._parser.requests.clear()
        self._parser.abandon()
        self._ahead.clear()
        self._table.forget(self)

    def get_buffer(self, _hint: int) -> memoryview:
        return self._table.read_buffer

    def buffer_updated(self, count: int) -> None:
        data = self._table.read_buffer[:count]
        if self._closing:
            return  # dropped, so that the answer is not lost
        if self._busy:
            self._ahead += data
            if len(self._ahead) > _MAX_AHEAD:
                self._transport.pause_reading()
            return
        self._feed(data)

    def eof_received(self) -> bool:
        """A client that has sent all may still read, or be gone; which, only writing to it shows."""
        if not self._busy or self._closing:
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
        self._timer.set(self._options.rest_write_timeout)

    def resume_writing(self) -> None:
        self._set_unsent(0)
        self._timer.clear()
        if self._closing:
            self._linger()
        elif self._answered:
            self._finish()
        elif not self._busy:
            self.wait_for(self._parser.part)

    def _set_unsent(self, size: int) -> None:
        self._hold(size - self._unsent)
        self._unsent = size
        self._table.note_unsent(self, size)

    def _hold(self, more: int) -> None:
        self._held += more
        self._table.held_bytes += more

    # ---- time ------------------------------------------------------------------------------------

    def wait_for(self, part: Part) -> None:
        """The client has so long for what comes next."""
        options = self._options
        if part is Part.REQUEST:
            self._timer.set(options.rest_idle_timeout)
        else:
            self._timer.set(options.rest_header_timeout if part is Part.HEAD else options.rest_body_timeout)

    def _on_due(self) -> None:
        options = self._options
        if self._unsent:
            self.drop_answer(f"in {options.rest_write_timeout:g} seconds (--rest_write_timeout_seconds)")
        elif self._closing or self._parser.part is Part.REQUEST:
            self.close()
        elif self._parser.part is Part.HEAD:
            self._refuse(_too_slow("head", options.rest_header_timeout, "rest_header_timeout_seconds"))
        else:
            self._refuse(_too_slow("body", options.rest_body_timeout, "rest_body_timeout_seconds"))

    # ---- called by the parser --------------------------------------------------------------------

    def take(self, size: int, whole: int) -> None:
        """Keeps bytes of a body, which counts for all connections together."""
        limit = self._options.rest_max_buffered_bytes
        if whole > _SMALL_BODY and self._table.held_bytes > limit:
            text = f"The server holds more than {limit} bytes of requests and answers; try again later "
            raise Refused(429, Code.RESOURCE_EXHAUSTED, text + "(--rest_max_buffered_bytes)")
        self._hold(size)

    def invite_body(self) -> None:
        """Tells a client that waits for it to send its body."""
        self._transport.write(_CONTINUE)

    # ---- requests and answers --------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        return self._current is not None

    def _feed(self, data: bytes | bytearray | memoryview) -> None:
        self._parser.feed(data)
        self._next()

    def _next(self) -> None:
        """Hands the next complete request over, or waits for more of one."""
        if self._current is not None or self._closing:
            return
        if self._parser.requests:
            self._begin(self._parser.requests.popleft())
        elif self._parser.refused is not None:
            self._refuse(self._parser.refused)
        elif self._half_closed:
            self.close()
        elif not self._timer.is_set:
            self.wait_for(self._parser.part)

    def _begin(self, request: Request) -> None:
        self._current = request
        self._answered = False
        self._timer.clear()
        self.has_asked = True
        self._table.note_asking(self)
        try:
            self._call = self._threads.begin(request, self.peer, self.answer)
        except Refused as refused:
            self.answer(request, self._threads.refuse(request, refused, self.peer, False))

    def answer(self, request: Request, reply: Reply) -> None:
        """Writes the answer to the request that was handed over; dropped if the connection is closing."""
        if self._current is not request or self._transport.is_closing():
            return
        self._hold(-len(request.body))
        self._answered = True
        last = not self._parser.requests and not self._ahead
        ends = self._half_closed or self._table.draining
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
        self._table.note_waiting(self)
        if self._parser.requests or self._parser.refused is not None or not self._ahead:
            self._next()
            return
        ahead, self._ahead = self._ahead, bytearray()
        self._transport.resume_reading()
        self._feed(ahead)

    def _write(self, reply: Reply, request: Request | None, closes: bool) -> None:
        self._transport.write(reply.to_bytes(request, closes))
        unsent = self._transport.get_write_buffer_size()
        if unsent or self._unsent:
            self._set_unsent(unsent)

    def _refuse(self, refused: Refused) -> None:
        """Answers with an error and closes."""
        self._closing = True
        self._timer.clear()
        request = self._parser.abandon()
        self._hold(-len(request.body))
        self._write(self._threads.refuse(request, refused, self.peer, True), None, True)
        if not self._unsent:
            self._linger()

    def _linger(self) -> None:
        """Says that nothing more will come, and waits a while for the client to stop sending."""
        self._closing = True
        if self._transport.is_closing():
            return
        if self._half_closed:
            self._transport.close()
            return
        with contextlib.suppress(OSError):
            self._transport.write_eof()
        self._transport.resume_reading()
        self._table.note_waiting(self)
        self._timer.set(DRAIN_PAUSE if self._table.draining else _LINGER)

    def drop_answer(self, why: str) -> None:
        """Closes the connection of a client that does not take its answer."""
        error = ServingError(Code.CANCELLED, f"The client did not take its answer {why}")
        self._threads.record(self._current, error, self.peer)
        self._set_unsent(0)
        self.abort()

    def close_if_idle(self) -> None:
        """Closes unless a request has come, or has begun to."""
        if (self._closing or self._parser.part is Part.REQUEST) and not self._busy:
            self.close()

    def close(self) -> None:
        """Closes at once; what has been written is still sent."""
        self._closing = True
        self._transport.close()

    def abort(self) -> None:
        """Closes at once; what has not been sent is dropped."""
        self._closing = True
        self._transport.abort()
