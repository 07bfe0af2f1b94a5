"""The command line of `tools/soak`."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from conformance.soak import Plan

ROOT = Path(__file__).parents[2]


def report(figures: dict[str, Any], plan: Plan) -> bool:
    from rich.console import Console
    from rich.table import Table

    checks = {
        "failed or wrong": figures["failed or wrong"] == 0,
        "alive at the end": figures["alive at the end"],
        "newest version serves": figures["newest version serves"],
        "memory growth": figures["memory growth"] <= plan.growth,
        "p99 in a swap over p99 elsewhere": figures["p99 in a swap over p99 elsewhere"] <= plan.slowdown,
    }
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("figure", "value", "", title="Soak")
    for name, value in figures.items():
        if name != "failures":
            mark = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: ""}[checks.get(name)]
            table.add_row(name, f"{value:,}" if type(value) is int else str(value), mark)
    console.print(table)
    for text in figures["failures"]:
        console.print(f"✗ {text}", markup=False)
    return all(checks.values())


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--duration", default=300.0, show_default=True, help="Seconds of load.")
@click.option("--clients", default=64, show_default=True, help="Concurrent clients; half gRPC, half REST.")
@click.option("--swap-every", default=20.0, show_default=True, help="Seconds between new versions.")
@click.option("--reload-every", default=7.0, show_default=True, help="Seconds between reloads.")
@click.option("--malformed", default=0.1, show_default=True, help="Share of malformed requests.")
@click.option(
    "--nuisances",
    default=12,
    show_default=True,
    help="Clients that drip, vanish, never read, or send noise, beside the good ones.",
)
@click.option("--growth", default=0.1, show_default=True, help="Allowed growth of memory after minute one.")
@click.option(
    "--slowdown", default=2.0, show_default=True, help="Allowed 99th percentile in a swap over elsewhere."
)
@click.option("--seed", default=0, show_default=True, help="What the clients ask, and in which order.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(json_file: Path | None, **options: Any) -> None:
    """Load the embedded server on loopback while versions are swapped and the configuration is reloaded.

    Every answer is checked. The exit status is 0 if no good request failed, no answer was wrong, swaps
    slowed requests by no more than --slowdown, and the memory of the server at the end is within --growth of
    what it was after one minute (in a shorter run, after a fifth of it).

    \b
    Example:
      tools/soak
      tools/soak --duration 30 --clients 8 --swap-every 5
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped, too
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    from conformance.soak import Plan, soak

    plan = Plan(**options)
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        figures = soak(Path(directory), plan)
    passed = report(figures, plan)
    if json_file is not None:
        json_file.write_text(json.dumps(figures | {"passed": passed}, indent=1))
    raise SystemExit(0 if passed else 1)
