"""`tf-mlm serve`."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import sys
from pathlib import Path

import click

REAL = "tensorflow_model_server"


@click.command("serve")
@click.argument("base_path", type=click.Path(path_type=Path))
@click.option("--name", default="mlm", show_default=True, help="The model's name in requests.")
@click.option("--port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="gRPC; 0: any.")
@click.option("--rest-port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 to listen on every address.")
@click.option("--embedded", is_flag=True, help=f"Use the embedded server even when {REAL} is on PATH.")
@click.option("--access-log", default="", help="File for one JSON line per request; - for standard error.")
def command(
    base_path: Path, name: str, port: int, rest_port: int, host: str, embedded: bool, access_log: str
) -> None:
    """Serve the newest version under BASE_PATH over gRPC and REST, and switch to newer ones as they come.

    Runs the real tensorflow_model_server when it is on PATH, else the embedded server.

    Example: tf-mlm serve models/mlm
    """
    from tf_mlm.export.version_directory import versions

    base_path = base_path.resolve()
    if not versions(base_path):
        raise click.ClickException(
            f"A base path must hold at least one numbered version. Received: `{base_path}`, "
            f"which holds none. Write one with: tf-mlm export MODEL_DIR {base_path}"
        )
    if port and port == rest_port:
        raise click.UsageError(f"--port and --rest-port must differ. Received: {port} for both.")
    with contextlib.ExitStack() as probes:
        port = probes.enter_context(_probe("--port", host, port)).getsockname()[1]
        rest_port = probes.enter_context(_probe("--rest-port", host, rest_port)).getsockname()[1]
    # The embedded server takes the same flags, and a few of its own.
    flags = [
        f"--port={port}",
        f"--rest_api_port={rest_port}",
        f"--model_name={name}",
        f"--model_base_path={base_path}",
    ]
    real = None if embedded else shutil.which(REAL)
    if real:
        batching = Path(__file__).parents[2] / "serving" / "config" / "batching.config"
        flags += ["--xla_cpu_compilation_enabled=true"]
        if batching.is_file():
            flags += ["--enable_batching=true", f"--batching_parameters_file={batching}"]
    else:
        flags += [f"--host={host}", f"--access_log={access_log}", "--max_num_load_retries=0"]
    click.echo(f"Running {real or 'python -m tf_mlm.serving.model_server'} {shlex.join(flags)}")
    click.echo("Programs are compiled before the ports open; stop with Ctrl-C.")
    sys.stdout.flush()
    if real:
        os.execv(real, [real, *flags])
    from tf_mlm.serving.model_server import leave, main

    leave(1 if main(flags) else 0)


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
