"""`tf-mlm serve`."""

from __future__ import annotations

import os
import shutil
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
        command_line = [real]
    else:
        flags += [f"--host={host}", f"--access_log={access_log}", "--max_num_load_retries=0"]
        command_line = [sys.executable, "-m", "tf_mlm.serving.model_server"]
    click.echo(f"Running {' '.join([*command_line, *flags])}")
    click.echo("Programs are compiled before the ports open; stop with Ctrl-C.")
    sys.stdout.flush()
    os.execv(command_line[0], [*command_line, *flags])
