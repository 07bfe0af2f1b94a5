"""Who owns a Unix socket."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.grpc.unix_socket import UnixSocket
from tf_mlm.serving.server import ModelServer, ServerOptions


def listening(made: list[socket.socket]) -> Callable[[str], object]:
    def listen(path: str) -> None:
        made.append(socket.socket(socket.AF_UNIX))
        made[-1].bind(path)
        made[-1].listen()

    return listen


@pytest.fixture
def sockets():
    made: list[socket.socket] = []
    yield made
    for one in made:
        one.close()


def test_a_living_socket_is_left_alone_and_a_dead_one_taken(tmp_path: Path, sockets: list) -> None:
    path = str(tmp_path / "s")
    first = UnixSocket(path, listening(sockets))
    with pytest.raises(OSError, match="another process listens there"):
        UnixSocket(path, listening(sockets))
    assert len(sockets) == 1
    sockets[0].close()
    second = UnixSocket(path, listening(sockets))
    first.remove()  # it is the second one's by now
    assert os.listdir(tmp_path) == ["s"]
    second.remove()
    assert os.listdir(tmp_path) == []
    second.remove()


def test_another_file_is_not_replaced(tmp_path: Path, sockets: list) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(OSError, match="is no socket"):
        UnixSocket(str(tmp_path / "s"), listening(sockets))
    assert (tmp_path / "s").read_text() == "mine"


def test_a_second_server_does_not_take_the_first_one_s_socket(serve, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "half_plus_two", tmp_path / "m" / "1")
    options = {
        "model_name": "m",
        "model_base_path": str(tmp_path / "m"),
        "grpc_socket_path": str(tmp_path / "s"),
    }
    first = serve(**options)
    with pytest.raises(ServingError, match="another process listens there") as error:
        ModelServer(ServerOptions(**options, rest_port=None, shutdown_grace=1)).start()
    assert (error.value.code, "--grpc_socket_path" in error.value.message) == (Code.INVALID_ARGUMENT, True)
    with grpc.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(first.request("m", {"x": np.float32([2.0])}), timeout=20)
    assert list(answer.outputs["y"].float_val) == [3.0]
    first.server.stop()
    assert sorted(os.listdir(tmp_path)) == ["m"]
