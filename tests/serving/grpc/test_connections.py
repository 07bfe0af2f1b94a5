"""A crowd of gRPC connections, and an honest client that comes after it."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from waiting import eventually

from tf_mlm.serving.grpc import api as grpc_api

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for its connections")
FILES = 256  # open files allowed: a quarter of them may be gRPC's connections
LIMIT = FILES // 4
ONE = {"x": np.float32([1.0])}
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and empty settings


@pytest.fixture
def served(serve, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grpc_api, "raise_open_file_limit", lambda: FILES)
    # Silence alone would end them too; here it must be their number.
    monkeypatch.setattr(grpc_api, "_LONGEST_HANDSHAKE_MS", 600_000)
    shutil.copytree(models / "shapes", tmp_path / "shapes" / "1")
    started = serve(model_name="shapes", model_base_path=str(tmp_path / "shapes"), grpc_receive_timeout=600.0)
    yield started
    started.server.stop()


def crowd(served, stack: contextlib.ExitStack, count: int, greeting: bytes) -> list[socket.socket]:
    connections = []
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", served.server.grpc_port)))
        with contextlib.suppress(OSError):
            connection.sendall(greeting)
        connections.append(connection)
    return connections


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has; what it said before is read."""
    with contextlib.suppress(OSError):
        while select.select([connection], [], [], 0)[0]:
            if not connection.recv(1 << 16):
                return True
        return False
    return True


def ask_anew(served) -> bytes:
    """The answer to a call on a connection of its own."""
    with grpc.insecure_channel(
        f"127.0.0.1:{served.server.grpc_port}", [("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=lambda request: request.SerializeToString(),
        )
        return predict(served.request("shapes", ONE), timeout=120, wait_for_ready=True)


@pytest.mark.parametrize("greeting", [b"", GREETING[:5], GREETING], ids=["silent", "part", "whole"])
def test_a_crowd_makes_room(served, greeting: bytes) -> None:
    with contextlib.ExitStack() as stack:
        connections = crowd(served, stack, 2 * LIMIT, greeting)
        eventually(lambda: sum(map(is_closed, connections)) >= 2 * LIMIT - 3 * LIMIT // 4)
        assert ask_anew(served)
        assert served.post("shapes:predict", {"inputs": [1.0]}).json() == {"outputs": [1.0]}
        # Where there is room, a client may say nothing for as long as it likes.
        assert not all(map(is_closed, connections))


def test_who_waits_for_an_answer_or_has_called_stays(served) -> None:
    running = served.prediction.Predict.future(
        served.request("shapes", {"rounds": np.int32([2_000_000_000])}, "slow")
    )
    others = [
        grpc.insecure_channel(f"127.0.0.1:{served.server.grpc_port}", [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(4)
    ]
    states: list[list[grpc.ChannelConnectivity]] = [[] for _ in others]
    with contextlib.ExitStack() as stack:
        for channel, seen in zip(others, states, strict=True):
            stack.enter_context(channel)
            channel.unary_unary(
                "/tensorflow.serving.PredictionService/Predict",
                request_serializer=lambda request: request.SerializeToString(),
            )(served.request("shapes", ONE), timeout=60)
            channel.subscribe(seen.append)
        connections = crowd(served, stack, 3 * LIMIT, GREETING)
        eventually(lambda: sum(map(is_closed, connections)) >= 3 * LIMIT - 3 * LIMIT // 4)
        assert not running.done()
        assert all(set(seen) <= {grpc.ChannelConnectivity.READY} for seen in states)
        running.cancel()


def test_unix_sockets_are_left_alone(serve, models: Path, tmp_path: Path) -> None:
    """They have no port by which the kernel would tell them apart, and no strangers."""
    shutil.copytree(models / "shapes", tmp_path / "shapes" / "1")
    path = tmp_path / "socket"
    started = serve(
        model_name="shapes",
        model_base_path=str(tmp_path / "shapes"),
        grpc_port=None,
        grpc_socket_path=str(path),
    )
    with grpc.insecure_channel(f"unix:{path}") as channel:
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=lambda request: request.SerializeToString(),
        )
        assert predict(started.request("shapes", ONE), timeout=60)
    started.server.stop()
