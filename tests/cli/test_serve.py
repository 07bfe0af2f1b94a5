"""`tf-mlm serve`: the embedded server until it is interrupted, or the real one where there is one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reference.command_line import run

from tf_mlm.serving.server_process import free_ports


@pytest.fixture
def base_path(plain_export: Path) -> Path:
    return plain_export.parent


def serve(*arguments: Any, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tf_mlm", "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


def test_serve_answers_until_it_is_interrupted(base_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grpc, rest = free_ports(2)
    server = serve(base_path, "--name", "mine", "--port", grpc, "--rest-port", rest)
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if "Entering the event loop" in line:
                break
        for address in (f"grpc://127.0.0.1:{grpc}/mine", f"http://127.0.0.1:{rest}/mine"):
            assert run("fill", address, "The [MASK].", "--json") == 0
            assert len(json.loads(capsys.readouterr().out)[0]) == 5
        for option, port in (("--port", grpc), ("--rest-port", rest)):
            assert run("serve", base_path, option, port) == 1
            error = capsys.readouterr().err
            assert f"{option} must be a free port of 127.0.0.1. Received: {port}: Address already" in error
        mistakes = {
            (f"grpc://127.0.0.1:{grpc}/mine", "no mask"): "Every text must contain the mask token",
            (f"http://127.0.0.1:{rest}/other", "[MASK]"): "Check the model name and version in the target",
        }
        for arguments, message in mistakes.items():
            assert run("fill", *arguments) == 1
            error = capsys.readouterr().err
            assert message in error
            assert len(error.splitlines()) == 1
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    finally:
        server.kill()


def test_a_version_that_cannot_be_loaded_ends_serve_with_1(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no model")
    grpc, rest = free_ports(2)
    server = serve(tmp_path, "--port", grpc, "--rest-port", rest)
    out, _ = server.communicate(timeout=120)
    assert server.returncode == 1
    assert "Failed to start server. Error:" in out
    assert "Traceback" not in out


def serve_with_a_real_server(
    base_path: Path, directory: Path, *arguments: str
) -> tuple[int, list[str], list[str], tuple[int, int]]:
    """Exit status, flags that a binary called tensorflow_model_server got, lines of standard error, ports."""
    real = directory / "tensorflow_model_server"
    real.write_text('#!/bin/sh\nfor flag; do echo "flag $flag"; done\nexit 7\n')
    real.chmod(0o755)
    grpc, rest = free_ports(2)
    path = f"{directory}:{os.environ['PATH']}"
    server = serve(base_path, "--port", grpc, "--rest-port", rest, *arguments, PATH=path)
    lines = server.communicate(timeout=60)[0].splitlines()
    flags = [line.removeprefix("flag ") for line in lines if line.startswith("flag ")]
    others = [line for line in lines if not line.startswith("flag ")]
    return server.returncode, flags, others, (grpc, rest)


@pytest.mark.parametrize("host", [(), ("--host", "0.0.0.0")])
def test_serve_runs_the_real_server_where_there_is_one(
    base_path: Path, tmp_path: Path, host: tuple[str, ...]
) -> None:
    status, flags, others, (grpc, rest) = serve_with_a_real_server(base_path, tmp_path, *host)
    assert status == 7
    version = base_path / "1"
    assert flags == [
        f"--port={grpc}",
        f"--rest_api_port={rest}",
        "--model_name=mlm",
        f"--model_base_path={base_path}",
        "--xla_cpu_compilation_enabled=true",
        "--enable_batching=true",
        f"--batching_parameters_file={version / 'batching_params.pbtxt'}",
    ]
    # It cannot stay on this machine, and whoever did not say so learns it.
    assert any("listens on every address" in line for line in others) is not bool(host)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "127.0.0.1"), "--host must be 0.0.0.0"),
        (("--host", "localhost"), "Received: localhost"),
        (("--access-log", "-"), "--access-log is the embedded server's"),
    ],
)
def test_serve_refuses_what_the_real_server_cannot_do(
    base_path: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    status, flags, others, _ = serve_with_a_real_server(base_path, tmp_path, *arguments)
    assert (status, flags) == (2, [])
    assert any(message in line for line in others)
    assert any("--embedded" in line for line in others)


def test_an_export_without_batching_parameters_is_served_unbatched(base_path: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(base_path, older)
    (older / "1" / "batching_params.pbtxt").unlink()
    status, flags, others, _ = serve_with_a_real_server(older, tmp_path)
    assert status == 7
    assert not any("batching" in flag for flag in flags)
    assert any("not merged into batches" in line for line in others)


@pytest.mark.parametrize("flags", ["avx2", "avx512_bf16"])
@pytest.mark.parametrize("arithmetic", ["float", "bfloat16"])
def test_serve_says_where_bfloat16_is_slow(
    flags: str,
    arithmetic: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tf_mlm.export import processor
    from tf_mlm.export.description import DESCRIPTION

    cpuinfo, description = tmp_path / "cpuinfo", tmp_path / "mlm" / "1" / DESCRIPTION
    cpuinfo.write_text(f"flags: {flags}")
    description.parent.mkdir(parents=True)
    (tmp_path / "mlm" / "1" / "saved_model.pb").touch()
    description.write_text(json.dumps({"arithmetic": arithmetic}))
    monkeypatch.setattr(processor, "CPUINFO", cpuinfo)
    with socket.create_server(("127.0.0.1", 0)) as taken:  # said before the ports are looked at
        assert run("serve", tmp_path / "mlm", "--port", taken.getsockname()[1]) == 1
    error = capsys.readouterr().err
    assert "must be a free port" in error
    assert ("slower than in float32" in error) == ((flags, arithmetic) == ("avx2", "bfloat16"))
