"""The command line of `tools/fuzz`."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[2]


def report(figures: dict[str, Any]) -> bool:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", title="Fuzz")
    for name, value in figures.items():
        if name in ("outcomes", "violations"):
            for kind, number in value.items():
                table.add_row(kind if name == "outcomes" else f"✗ {kind}", f"{number:,}")
        elif name != "examples":
            table.add_row(name, f"{value:,}" if type(value) is int else str(value))
    table.add_row("violations", f"{sum(figures['violations'].values()):,}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for text in figures["examples"]:
        console.print(f"✗ {text}", markup=False)
    return bool(figures["right answers at the end"]) and not figures["violations"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--count", default=20_000, show_default=True, help="Requests of each kind: REST, and protos.")
@click.option("--seed", default=0, show_default=True, help="The same seed sends the same requests.")
@click.option("--batching", is_flag=True, help="With batching on the server.")
@click.option(
    "--export",
    type=click.Choice(["no-xla", "xla"]),
    help="Instead send --count tensors of every shape to an export of tf-mlm with or without XLA.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(count: int, seed: int, batching: bool, export: str | None, json_file: Path | None) -> None:
    """Send generated REST requests and mutated protos to the embedded server, started on loopback.

    The exit status is 0 if the server neither crashed nor hung, gave no 5xx (gRPC: UNKNOWN, INTERNAL) that
    the contract does not have, and gave right answers all along and at the end. A server that has crashed is
    started again, and the request that did it is found, made smaller and printed.

    \b
    Example:
      tools/fuzz
      tools/fuzz --count 1000 --seed 7
      tools/fuzz --export no-xla --count 50000
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped, too
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        if export is None:
            from conformance import fuzz_protocols

            figures = fuzz_protocols.fuzz(count, seed, batching, Path(directory))
        else:
            from conformance import fuzz_export

            figures = fuzz_export.fuzz(export, count, seed, batching, Path(directory))
    passed = report(figures)
    if json_file is not None:
        json_file.write_text(json.dumps(figures | {"passed": passed}, indent=1))
    raise SystemExit(0 if passed else 1)
