"""`tf-mlm page`."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import click

from tf_mlm.cli.verb import TensorFlowVerb
from tf_mlm.target.open import open_target

MOST_FILLS = 25
_PATIENCE = 3.0
"""Seconds that a server may take to say how it does."""


class PageVerb(TensorFlowVerb):
    """Needs no TensorFlow where every target is a server that is asked over REST."""

    def invoke(self, ctx: click.Context) -> Any:
        over_rest = all(target.startswith(("http://", "https://")) for target in ctx.params["targets"])
        return click.Command.invoke(self, ctx) if over_rest else super().invoke(ctx)


@click.command("page", cls=PageVerb)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET [TARGET2]")
@click.option("--port", type=click.IntRange(0, 65535), default=8600, show_default=True, help="0: any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--until-closed", is_flag=True, hidden=True, help="End when standard input does.")
def command(targets: tuple[str, ...], port: int, host: str, until_closed: bool) -> None:
    """Look at a model, or at two side by side, in a browser: fills, surprise, tokens.

    A target is a model directory, a base path, grpc://host:port/name or http://host:port/name. A server may
    start, stop and come back as it likes. The page has no password: leave it on 127.0.0.1, or in a network
    that you trust.

    Example: tf-mlm page my-model
    """
    from tf_mlm.errors import ReplacedTargetWarning
    from tf_mlm.page.server import PageServer
    from tf_mlm.page.visitors import is_loopback

    if len(targets) > 2:
        raise click.UsageError(f"At most two targets can be compared. Received: {len(targets)}.")
    warnings.simplefilter("ignore", ReplacedTargetWarning)  # the page itself says so
    models = [_model(target) for target in targets]
    for model in models:
        threading.Thread(target=model.warm_up, daemon=True).start()
    try:
        server = PageServer(models, host, port)
    except OSError as error:
        raise click.ClickException(
            f"--port must be a free port of {host}. Received: {port}: {error.strerror or error}. "
            "Choose another one, or 0 for any."
        ) from error
    click.echo(f"The page of {' and '.join(targets)}: {server.url}   (Ctrl-C ends it)")
    if not is_loopback(host):
        click.echo(f"Warning: whoever reaches {host} can use it, and so the model; it has no password.")
    sys.stdout.flush()
    _wait(until_closed)
    server.stop()


def _model(target: str) -> Any:
    from tf_mlm.page.model import PageModel
    from tf_mlm.serving.client.client import Client

    client = open_target(target, MOST_FILLS, bounded=True)
    if "://" in target:
        return PageModel(target, client, "server", Client(target, timeout=_PATIENCE, retries=0))
    return PageModel(target, client, "directory" if (Path(target) / "config.json").is_file() else "export")


def _wait(until_closed: bool) -> None:
    """Until a signal, or the end of the process that holds the other end of standard input."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if until_closed:

        def read() -> None:
            while sys.stdin.buffer.read(1):
                pass
            ended.set()

        threading.Thread(target=read, daemon=True).start()
    while not ended.wait(0.5):  # in steps, as a signal's handler runs between them
        pass
