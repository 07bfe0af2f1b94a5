"""HTTP in front of the REST door: uvicorn with a bare ASGI application.

Bodies are read on the event loop; everything else happens on a thread per request, of which there
are `rest_api_num_threads`. Requests beyond `max_concurrent_requests` are refused at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn

from tf_mlm.serving import json_writer
from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest_api import Reply, Request, RestApi

_log = logging.getLogger(__name__)
_START_TIMEOUT = 30.0
_BACKLOG = 2048
# An idle connection is kept for longer than clients' pools usually keep theirs; a client that stops in the
# middle of a body may not hold its place among the requests in hand for ever.
_IDLE_TIMEOUT = 60
_BODY_TIMEOUT = 60.0
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Disconnected(Exception):
    pass


class _TooLarge(Exception):
    pass


class _Application:
    """ASGI: body and limits on the loop, the answer on a thread."""

    def __init__(self, api: RestApi, options: ServerOptions, threads: ThreadPoolExecutor) -> None:
        self._api = api
        self._threads = threads
        self._max_bytes = options.max_request_bytes
        self._max_requests = options.max_concurrent_requests
        self._in_hand = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self._max_requests and self._in_hand >= self._max_requests:
            text = f"Too many requests in hand ({self._in_hand}); try again later"
            await _send(send, scope, _refusal(429, Code.RESOURCE_EXHAUSTED, text))
            return
        self._in_hand += 1
        try:
            body = await self._body(receive)
            request = _request(scope, body)
            peer = ":".join(map(str, scope["client"] or ()))
            reply = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._api.answer, request, peer
            )
            await _send(send, scope, reply)
        except TimeoutError:
            text = f"Nothing more of the request's body came for {_BODY_TIMEOUT:g} seconds"
            await _send(send, scope, _refusal(408, Code.DEADLINE_EXCEEDED, text))
        except _TooLarge:
            text = f"The request is larger than the limit of {self._max_bytes} bytes; send fewer rows at once"
            await _send(send, scope, _refusal(413, Code.RESOURCE_EXHAUSTED, text))
        except _Disconnected:
            pass
        finally:
            self._in_hand -= 1

    async def _body(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            async with asyncio.timeout(_BODY_TIMEOUT):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise _Disconnected
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._max_bytes:
                raise _TooLarge
            chunks.append(chunk)
            if not message.get("more_body"):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _request(scope: dict[str, Any], body: bytes) -> Request:
    target = scope["raw_path"].decode("latin-1")
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], target, headers, body)


def _refusal(status: int, code: Code, text: str) -> Reply:
    body = json_writer.error(ServingError(code, text)).encode()
    return Reply(status, body, headers=(("Connection", "close"),))


async def _send(send: Send, scope: dict[str, Any], reply: Reply) -> None:
    headers = [(b"content-length", str(len(reply.body)).encode())]
    if reply.content_type:
        headers.insert(0, (b"content-type", reply.content_type.encode()))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})


class RestServer:
    """Listens on a TCP port from a thread of its own.

    Attributes:
        port: the port in use.

    Raises:
        OSError: when it cannot listen.
    """

    def __init__(self, api: RestApi, options: ServerOptions) -> None:
        assert options.rest_port is not None
        self._socket = _listen(options.rest_host, options.rest_port)
        self.port: int = self._socket.getsockname()[1]
        self._threads = ThreadPoolExecutor(options.rest_api_num_threads, "rest")
        config = uvicorn.Config(
            _Application(api, options, self._threads),
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_IDLE_TIMEOUT,
            timeout_graceful_shutdown=max(1, round(options.shutdown_grace)),
            backlog=_BACKLOG,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._thread.start()
        deadline = threading.Event()
        for _ in range(round(_START_TIMEOUT / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            deadline.wait(0.01)
        if not self._server.started:
            raise OSError("the HTTP server did not start; see the log above")

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self, grace: float) -> None:
        """Refuses new connections, lets requests in flight finish for at most `grace` seconds."""
        self._server.should_exit = True
        self._thread.join(grace + 5)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    """`::` means both families where the machine has IPv6, else IPv4 only."""
    if host == "::":
        try:
            return _server_socket(socket.AF_INET6, host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
            host = "0.0.0.0"
    return _server_socket(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)


def _server_socket(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.create_server(
        (host, port),
        family=family,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        backlog=_BACKLOG,
    )
    # asyncio leaves sockets made elsewhere with Nagle's algorithm on, which costs 40 ms a reply.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
