"""`tf-mlm serve`."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path

import click

REAL = "tensorflow_model_server"
_EVERY_ADDRESS = ("0.0.0.0", "::", "[::]")
_HERE = "127.0.0.1"
_pages: list[subprocess.Popen[bytes]] = []
"""Kept, or their pipes would be closed."""


@click.command("serve")
@click.argument("base_path", type=click.Path(path_type=Path))
@click.option("--name", default="mlm", show_default=True, help="The model's name in requests.")
@click.option("--port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="gRPC; 0: any.")
@click.option("--rest-port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any.")
@click.option(
    "--host",
    help=f"Address to listen on  [default: 127.0.0.1; {REAL} knows only 0.0.0.0, every address]",
)
@click.option("--embedded", is_flag=True, help=f"Use the embedded server even when {REAL} is on PATH.")
@click.option(
    "--page-port",
    type=click.IntRange(0, 65535),
    help="Show the model's page there too, on 127.0.0.1; 0: any.",
)
@click.option("--access-log", default="", help="File for one JSON line per request; - for standard error.")
def command(
    base_path: Path,
    name: str,
    port: int,
    rest_port: int,
    host: str | None,
    embedded: bool,
    page_port: int | None,
    access_log: str,
) -> None:
    """Serve the newest version under BASE_PATH over gRPC and REST, and switch to newer ones as they come.

    Runs the real tensorflow_model_server when it is on PATH, else the embedded server. The real one merges
    requests as the newest version's batching_params.pbtxt says, and listens on every address of the machine.

    Example: tf-mlm serve models/mlm
    """
    from tf_mlm.version_directory import newest, versions

    base_path = base_path.resolve()
    if not versions(base_path):
        raise click.ClickException(
            f"A base path must hold at least one numbered version. Received: `{base_path}`, "
            f"which holds none. Write one with: tf-mlm export MODEL_DIR {base_path}"
        )
    if port and port == rest_port:
        raise click.UsageError(f"--port and --rest-port must differ. Received: {port} for both.")
    _warn_of_the_processor(newest(base_path))
    real = None if embedded else shutil.which(REAL)
    advice = "Programs are compiled before the ports open; stop with Ctrl-C."
    if real:
        _check_the_real_server_can(real, host, access_log)
        if host is None:
            advice = (
                "Warning: it listens on every address of this machine, not only on 127.0.0.1: give --host "
                f"0.0.0.0 if that is meant, or --embedded to stay on 127.0.0.1. {advice}"
            )
    host = host or ("0.0.0.0" if real else "127.0.0.1")
    with contextlib.ExitStack() as probes:
        port = probes.enter_context(_probe("--port", host, port)).getsockname()[1]
        rest_port = probes.enter_context(_probe("--rest-port", host, rest_port)).getsockname()[1]
        if page_port is not None:
            page_port = probes.enter_context(_probe("--page-port", _HERE, page_port)).getsockname()[1]
    # The embedded server takes the same flags, and a few of its own.
    flags = [
        f"--port={port}",
        f"--rest_api_port={rest_port}",
        f"--model_name={name}",
        f"--model_base_path={base_path}",
    ]
    if real:
        flags += ["--xla_cpu_compilation_enabled=true", *_batching_flags(newest(base_path))]
    else:
        flags += [f"--host={host}", f"--access_log={access_log}", "--max_num_load_retries=0"]
    click.echo(f"Running {real or 'python -m tf_mlm.serving.model_server'} {shlex.join(flags)}")
    click.echo(advice)
    if page_port is not None:
        click.echo(f"Its page: http://{_HERE}:{page_port}/")
        _start_page(f"http://{_reachable(host)}:{rest_port}/{urllib.parse.quote(name, safe='')}", page_port)
    sys.stdout.flush()
    if real:
        os.execv(real, [real, *flags])
    from tf_mlm.serving.model_server import leave, main

    leave(1 if main(flags) else 0)


def _warn_of_the_processor(version: Path | None) -> None:
    """Products of bfloat16 run on every processor, and are slow on most: nothing else would tell."""
    from tf_mlm.export.description import read_description
    from tf_mlm.export.processor import why_bfloat16_is_slow

    is_bfloat16 = version and read_description(version).get("arithmetic") == "bfloat16"
    if is_bfloat16 and (message := why_bfloat16_is_slow()):
        click.echo(f"Warning: {message}", err=True)


def _check_the_real_server_can(real: str, host: str | None, access_log: str) -> None:
    """It listens on every address and logs no requests; whoever asked for something else is told."""
    if access_log:
        raise click.UsageError(
            f"--access-log is the embedded server's; {real}, found on PATH, has no such log. "
            "Add --embedded, or leave --access-log out."
        )
    if host not in (None, *_EVERY_ADDRESS):
        raise click.UsageError(
            f"--host must be 0.0.0.0 for {real}, found on PATH: it listens on every address. Received: "
            f"{host}. Add --embedded to listen on {host} only."
        )


def _reachable(host: str) -> str:
    """Where a server that listens on a host is asked from this machine."""
    if host in _EVERY_ADDRESS:
        return _HERE
    return f"[{host}]" if ":" in host else host


def _start_page(target: str, port: int) -> None:
    """The page in a process of its own, which ends with this one, whatever this one becomes."""
    command = [sys.executable, "-m", "tf_mlm", "page", target, f"--port={port}", f"--host={_HERE}"]
    page = subprocess.Popen([*command, "--until-closed"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert page.stdin is not None
    # A program that takes the place of this one keeps the pipe; its end is the end of the page.
    os.set_inheritable(page.stdin.fileno(), True)
    _pages.append(page)


def _batching_flags(version: Path | None) -> list[str]:
    from tf_mlm.export.batching import FILE

    if version and (version / FILE).is_file():
        return ["--enable_batching=true", f"--batching_parameters_file={version / FILE}"]
    click.echo(
        f"Warning: `{version}` has no {FILE}, so requests are not merged into batches. "
        "Exports of tf_mlm 0.2 and newer have one.",
        err=True,
    )
    return []


def _probe(option: str, host: str, port: int) -> socket.socket:
    """Binds the port, or a free one for 0: one in use is found now, and not after a minute of compiling."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise click.ClickException(
            f"{option} must be a free port of {host}. Received: {port}: {error.strerror}. "
            "Choose another one, or 0 for any."
        ) from error
