"""`tf-mlm page`, and the page that `tf-mlm serve` starts along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from reference.command_line import run
from waiting import eventually

from tf_mlm.serving.server_process import free_ports


def start(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tf_mlm", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **options.pop("env", {})},
        **options,
    )


http = httpx.Client(timeout=60)  # one, as each reads all certificates of the system


def state(port: int) -> str | None:
    """How the one model of a page is; None while there is no page."""
    try:
        answer = http.get(f"http://127.0.0.1:{port}/api/models", timeout=10)
    except httpx.TransportError:
        return None
    return answer.json()["models"][0]["state"]


@pytest.fixture
def real_server(tmp_path: Path) -> Path:
    """A PATH on which `tensorflow_model_server` is a program of its own, that takes this one's place."""
    program = tmp_path / "tensorflow_model_server"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tf_mlm.serving.model_server "$@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("is_real", [False, True], ids=["embedded", "real"])
def test_serve_starts_its_page_along(plain_export: Path, real_server: Path, is_real: bool) -> None:
    grpc, rest, page = free_ports(3)
    ports = ("--port", grpc, "--rest-port", rest, "--page-port", page)
    path = os.pathsep.join((str(real_server), os.environ["PATH"]))
    more = {"env": {"PATH": path}} if is_real else {}
    server = start("serve", plain_export.parent, *ports, *(() if is_real else ("--embedded",)), **more)
    try:
        eventually(lambda: state(page) == "AVAILABLE")
        body = {"text": "the [MASK]", "top_k": 2}
        answer = http.post(f"http://127.0.0.1:{page}/api/fill", json=body).json()
        assert len(answer["masks"][0]["fills"]) == 2
        assert http.get(f"http://127.0.0.1:{rest}/").status_code == 404  # TF-Serving's own paths
    finally:
        server.kill()
        server.wait()
    # However it ends, its page ends with it.
    eventually(lambda: state(page) is None)
    assert server.stdout is not None
    assert f"Its page: http://127.0.0.1:{page}/" in server.stdout.read()


def test_a_page_of_a_server_needs_no_tensorflow_and_no_server() -> None:
    (port,) = free_ports(1)
    blocked = "import sys; sys.modules['tensorflow'] = None\nfrom tf_mlm.cli import main\nmain(sys.argv[1:])"
    page = subprocess.Popen(
        [sys.executable, "-c", blocked, "page", f"http://127.0.0.1:{port}/mlm", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert page.stdout is not None
    line = page.stdout.readline()
    assert line.startswith(f"The page of http://127.0.0.1:{port}/mlm: http://127.0.0.1:")
    at = int(line.split(":")[-1].split("/")[0])
    assert state(at) == "UNREACHABLE"
    page.send_signal(signal.SIGINT)
    assert page.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Missing argument"),
        (("a", "b", "c"), 2, "At most two targets"),
        (("nowhere",), 1, "A target must be a model directory"),
        (("http://127.0.0.1/mlm",), 1, "A target must look like grpc://host:8500/name"),
        (("http://127.0.0.1:1/mlm", "--port", "99999"), 2, "99999"),
    ],
)
def test_wrong_use_says_what_to_do(
    arguments: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("page", *arguments) == code
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("page", "http://127.0.0.1:1/mlm", "--port", port) == 1
    assert f"--port must be a free port of 127.0.0.1. Received: {port}" in capsys.readouterr().err
