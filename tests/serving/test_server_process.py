"""A server process: when it counts as started, and what is told when it does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.server_process import ServerProcess, accepts, free_ports

LISTEN = """
import socket, sys, time
ports = [int(flag.partition("=")[2]) for flag in sys.argv[1:]]
print("here it comes", file=sys.stderr, flush=True)
listening = [socket.create_server(("127.0.0.1", port)) for port in ports[: {count}]]
time.sleep(600)
"""


def start(code: str, tmp_path: Path) -> ServerProcess:
    return ServerProcess([sys.executable, "-c", code], [], tmp_path / "log")


def test_it_has_started_when_both_ports_are_open(tmp_path: Path) -> None:
    with start(LISTEN.format(count=2), tmp_path) as server:
        server.wait()
        assert accepts(server.grpc_port)
        assert accepts(server.rest_port)
    assert not accepts(server.rest_port)
    assert server.popen.returncode == -15


def test_one_port_is_not_enough(tmp_path: Path) -> None:
    with start(LISTEN.format(count=1), tmp_path) as server:
        while not accepts(server.grpc_port):
            assert server.popen.poll() is None
        with pytest.raises(ServingError, match=r"did not start within 0\.2 seconds: here it comes") as caught:
            server.wait(0.2)
        assert caught.value.code is Code.DEADLINE_EXCEEDED


def test_one_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    with (
        start("exit('no model')", tmp_path) as server,
        pytest.raises(ServingError, match="status 1 instead of starting: no model") as caught,
    ):
        server.wait()
    assert caught.value.code is Code.UNAVAILABLE


def test_one_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    server = start(ignore + LISTEN.format(count=2), tmp_path)
    server.wait()
    assert server.stop(0.1) == -9


def test_free_ports_differ() -> None:
    assert len(set(free_ports(5))) == 5
