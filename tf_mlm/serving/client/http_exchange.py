"""One HTTP request and its answer within a time and a size: blocking, and waiting in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpcore

from tf_mlm.serving.client.http_deadline import Clock, DeadlineBackend

Headers = Mapping[bytes | str, bytes | str]
_LIMITS = {"max_connections": 100, "max_keepalive_connections": 20, "keepalive_expiry": 5.0}


class TooLongError(Exception):
    """An answer has more bytes than are taken."""


class _Content:
    """The body of an answer, as it comes."""

    def __init__(self, limit: int) -> None:
        self._bytes, self._limit = bytearray(), limit

    def add(self, piece: bytes) -> None:
        self._bytes += piece
        if len(self._bytes) > self._limit:
            raise TooLongError(f"The answer has more than {self._limit} bytes")

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)


class BlockingHttp:
    """Connections of a client that blocks; its coroutines never suspend.

    Args:
        proxy: its address, if there is one between.
        tls: of https.
        max_bytes: the most the body of an answer may have.
    """

    def __init__(self, proxy: str | None, tls: ssl.SSLContext | None, max_bytes: int) -> None:
        self._clock, self._max_bytes = Clock(), max_bytes
        options: dict[str, Any] = {
            **_LIMITS,
            "ssl_context": tls,
            "network_backend": DeadlineBackend(self._clock),
        }
        self._pool = httpcore.HTTPProxy(proxy, **options) if proxy else httpcore.ConnectionPool(**options)

    async def exchange(
        self, method: str, url: str, headers: Headers, body: bytes | None, seconds: float
    ) -> tuple[int, bytes]:
        """Status and body.

        Raises:
            httpcore's errors, `TooLongError`.
        """
        content = _Content(self._max_bytes)
        times = {"timeout": {"pool": seconds}}
        with (
            self._clock.within(seconds),
            self._pool.stream(method, url, headers=headers, content=body, extensions=times) as response,
        ):
            for piece in response.iter_stream():
                content.add(piece)
        return response.status, bytes(content)

    async def close(self) -> None:
        self._pool.close()


class WaitingHttp:
    """Connections of a client that waits in an event loop of asyncio. Arguments as of `BlockingHttp`."""

    def __init__(self, proxy: str | None, tls: ssl.SSLContext | None, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        options: dict[str, Any] = {**_LIMITS, "ssl_context": tls}
        pools: Any = (
            httpcore.AsyncHTTPProxy(proxy, **options) if proxy else httpcore.AsyncConnectionPool(**options)
        )
        self._pool = pools

    async def exchange(
        self, method: str, url: str, headers: Headers, body: bytes | None, seconds: float
    ) -> tuple[int, bytes]:
        """As `BlockingHttp.exchange`."""
        content = _Content(self._max_bytes)
        async with (
            _deadline(seconds) as extensions,
            self._pool.stream(method, url, headers=headers, content=body, extensions=extensions) as response,
        ):
            async for piece in response.aiter_stream():
                content.add(piece)
        return response.status, bytes(content)

    async def close(self) -> None:
        await self._pool.aclose()


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[dict[str, Any]]:
    """Bounds a whole exchange; yields what tells whether there was a connection, by which errors differ."""
    connected = False

    async def trace(event: str, _info: Any) -> None:
        nonlocal connected
        connected = connected or event == "http11.send_request_headers.started"

    try:
        async with asyncio.timeout(seconds):
            yield {"trace": trace}
    except TimeoutError as error:
        late = httpcore.ReadTimeout if connected else httpcore.ConnectTimeout
        raise late("the call's time is over") from error
    except OSError as error:  # TLS that fails late
        failed = httpcore.ReadError if connected else httpcore.ConnectError
        raise failed(str(error)) from error
    except UnicodeError as error:  # for a label no name may have
        raise httpcore.ConnectError(str(error)) from error
