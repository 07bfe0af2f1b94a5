"""Asking again: how often, after what, and never beyond the deadline."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2

from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.retry import retry_unavailable
from tf_mlm.serving.errors import Code


class Clock:
    """Time that only passes while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        monkeypatch.setattr("tf_mlm.serving.client.retry.time.monotonic", lambda: self.now)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def attempts(clock: Clock, code: Code, timeout: float, retries: int) -> list[float]:
    """The seconds left at each try of a question that never succeeds."""
    left: list[float] = []

    async def ask(seconds: float) -> None:
        left.append(seconds)
        raise ClientError(code, "no", "grpc://h:1/m")

    with pytest.raises(ClientError, match="no"):
        asyncio.run(retry_unavailable(ask, timeout, retries, clock.sleep))
    return left


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_it_is_repeated_as_often_as_was_said(clock: Clock, retries: int) -> None:
    assert len(attempts(clock, Code.UNAVAILABLE, 1000.0, retries)) == 1 + retries


@pytest.mark.parametrize("code", [code for code in Code if code not in (Code.OK, Code.UNAVAILABLE)])
def test_nothing_else_is_repeated(clock: Clock, code: Code) -> None:
    assert len(attempts(clock, code, 1000.0, 5)) == 1


def test_waits_grow_to_a_limit_and_differ_from_client_to_client(clock: Clock) -> None:
    attempts(clock, Code.UNAVAILABLE, 1000.0, 6)
    first = clock.sleeps
    for seconds, wait in zip(first, (0.1, 0.3, 0.9, 2.7, 5.0, 5.0), strict=True):
        assert wait / 2 <= seconds <= wait * 1.5
    clock.sleeps = []
    attempts(clock, Code.UNAVAILABLE, 1000.0, 6)
    assert clock.sleeps != first


def test_the_deadline_holds_for_all_tries_together(clock: Clock) -> None:
    left = attempts(clock, Code.UNAVAILABLE, 2.0, 1000)
    assert left[0] == 2.0
    assert all(later < earlier for earlier, later in itertools.pairwise(left))
    assert left[-1] > 0
    assert clock.now < 2.0


class Flaky:
    """Not available to the first requests, then to any; over both protocols."""

    def __init__(self) -> None:
        self.failures = self.requests = 0

    def fails(self) -> bool:
        self.requests += 1
        return self.requests <= self.failures


@pytest.fixture(params=["grpc", "http"])
def flaky(request) -> Iterator[tuple[Flaky, str]]:
    flaky = Flaky()
    start = {"grpc": over_grpc, "http": over_http}[request.param]
    port, stop = start(flaky)
    yield flaky, f"{request.param}://127.0.0.1:{port}/m"
    stop()


def over_grpc(flaky: Flaky) -> tuple[int, Callable[[], Any]]:
    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            def answer(_request: bytes, context: grpc.ServicerContext) -> bytes:
                if flaky.fails():
                    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
                return get_model_status_pb2.GetModelStatusResponse().SerializeToString()

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(2), [Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return port, lambda: server.stop(None).wait()


def over_http(flaky: Flaky) -> tuple[int, Callable[[], Any]]:
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"error": "not now"}' if flaky.fails() else b'{"model_version_status": []}'
            self.send_response(503 if b"error" in body else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port, lambda: (server.shutdown(), server.server_close())


def test_a_server_that_comes_back_in_time_is_not_noticed(flaky: tuple[Flaky, str], connect) -> None:
    server, target = flaky
    server.failures = 2
    with connect(target, timeout=60) as client:
        assert client.status() == []
    assert server.requests == 3


def test_retries_can_be_turned_off(flaky: tuple[Flaky, str], connect) -> None:
    server, target = flaky
    server.failures = 1
    with connect(target, timeout=60, retries=0) as client:
        with pytest.raises(ClientError, match="UNAVAILABLE: not now"):
            client.status()
        assert server.requests == 1
        assert client.status() == []


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_starts_while_it_is_asked(
    scheme: str, connect, serve, served, models, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No connection could be made: the first wait is used to start a server on that very port."""
    import random
    import shutil
    import socket

    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    shutil.copytree(models / "half_plus_two", tmp_path / "base" / "1")
    started: list[Any] = []

    def start(low: float, high: float) -> float:
        if not started:
            started.append(
                serve(
                    model_name="m",
                    model_base_path=str(tmp_path / "base"),
                    **{"grpc_port" if scheme == "grpc" else "rest_port": port},
                )
            )
        return high

    with connect(f"{scheme}://127.0.0.1:{port}/m", timeout=60, retries=20) as client:
        with pytest.raises(ClientError):  # nobody is there
            connect(f"{scheme}://127.0.0.1:{port}/m", timeout=5, retries=0).status()
        monkeypatch.setattr(random, "uniform", start)
        assert client.status()[0]["state"] == "AVAILABLE"
