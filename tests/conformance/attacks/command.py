"""The command line of `tools/attack`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from conformance.attacks.measure import Result

ROOT = Path(__file__).parents[3]
OURS = f"{shlex.quote(sys.executable)} -m tf_mlm.serving.model_server"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--start", "command", default=OURS, metavar="COMMAND", help="Start servers with this command.")
@click.option("--only", "only", multiple=True, metavar="KIND", help="Only kinds whose name contains this.")
@click.option("--match", default="", metavar="TEXT", help="Only attacks whose title contains this.")
@click.option("--quick", is_flag=True, help="A tenth of the requests, and less time for each attack.")
@click.option("--seconds", type=float, help="How long an attack lasts that could go on for ever.")
@click.option("--models", type=click.Path(path_type=Path), help="Keep the models here, for the next run.")
@click.option("--flag", "flags", multiple=True, metavar="--NAME=VALUE", help="One more flag for the server.")
@click.option("--list", "listing", is_flag=True, help="List the attacks and stop.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(
    command: str,
    only: tuple[str, ...],
    match: str,
    quick: bool,
    seconds: float | None,
    models: Path | None,
    flags: tuple[str, ...],
    listing: bool,
    json_file: Path | None,
) -> None:
    """Attack the embedded server, started on loopback, with an ordinary client beside every attack.

    An attack has failed to do harm if the ordinary client always got the right answer, its 99th percentile
    stayed below 250 ms or five times what it was before (whichever is larger), the server's memory below one
    and a half times what it was plus the attack's own request, the attack's requests were answered as the
    protocol says, and the server heard SIGTERM at the end. Servers that take 3 GiB are killed.

    \b
    Example:
      tools/attack
      tools/attack --only slow --match REST --seconds 20
    \b
    The exit status is 0 if no attack did harm.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped, too
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    from conformance.attacks import registry

    kinds = registry.chosen(only, match)
    if not kinds:
        raise click.UsageError(f"No attack matches. Received: --only {only} --match {match!r}; see --list.")
    if listing:
        for kind in kinds:
            for attack in kind.attacks:
                click.echo(f"{attack.kind} | {attack.title}")
        return
    from conformance.attacks import measure

    plan = measure.Plan(seconds=2.0, scale=0.1) if quick else measure.Plan()
    if seconds is not None:
        plan = measure.Plan(seconds, plan.scale)
    with tempfile.TemporaryDirectory(prefix="attack-") as directory:
        start = prepare(Path(directory), models, shlex.split(command), flags)
        results = []
        for result in measure.run(kinds, start, plan):
            results.append(result)
            print(line(result), file=sys.stderr, flush=True)
    report(results)
    if json_file is not None:
        json_file.write_text(json.dumps([result.to_json() for result in results], indent=1))
    sys.stdout.flush()
    os._exit(0 if all(result.passed for result in results) else 1)  # whatever hangs is left behind


def prepare(directory: Path, models: Path | None, command: list[str], flags: tuple[str, ...]) -> Any:
    """Writes the models, unless they are there, and returns what starts servers on them."""
    from conformance.attacks import models as catalogue
    from conformance.attacks.site import allow_open_files, starter

    allow_open_files()
    where = models or directory / "models"
    if not catalogue.configuration(where, "all").exists():
        where.mkdir(parents=True, exist_ok=True)
        catalogue.write(where)
    start = starter(command, where, directory)
    return lambda *more, **options: start(*flags, *more, **options)


def milliseconds(result: Result, protocol: str) -> str:
    if protocol not in result.attacked:
        return ""
    return f"{1000 * result.calm[protocol]:.0f} → {1000 * result.attacked[protocol]:.0f}"


def megabytes(result: Result) -> str:
    if not result.memory:
        return ""
    return f"{result.calm_memory / 1e6:.0f} → {result.memory / 1e6:.0f} ({result.memory_bound / 1e6:.0f})"


def line(result: Result) -> str:
    mark = "ok  " if result.passed else "HARM"
    p99 = " ".join(milliseconds(result, protocol) for protocol in ("gRPC", "REST"))
    text = f"{mark} {result.seconds:5.1f} s  {result.attack.kind} | {result.attack.title} | p99 ms {p99} | "
    text += f"MB {megabytes(result)} | failed {result.failed} of {result.asked} | {result.answers}"
    return "\n       ".join([text, *result.violations])


def report(results: list[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 190)
    table = Table(title="Attacks: an ordinary client beside them, undisturbed → under attack")
    for name in ("kind", "attack", "p99 ms gRPC", "p99 ms REST", "memory MB (bound)", "asked", "failed", ""):
        table.add_column(name, justify="left" if name in ("kind", "attack", "") else "right")
    kind = ""
    for result in results:
        if kind and result.attack.kind != kind:
            table.add_section()
        table.add_row(
            result.attack.kind if result.attack.kind != kind else "",
            result.attack.title,
            *(milliseconds(result, protocol) for protocol in ("gRPC", "REST")),
            megabytes(result),
            str(result.asked or ""),
            str(result.failed or ""),
            "[green]✓[/green]" if result.passed else "[red]✗[/red]",
        )
        kind = result.attack.kind
    console.print(table)
    harmful = [result for result in results if not result.passed]
    console.print(f"{len(results)} attacks, {len(harmful)} did harm.")
    for result in harmful:
        reasons = [*result.violations]
        reasons += ["the ordinary client was slow"] * result.is_slow + ["too much memory"] * result.is_large
        for reason in reasons:
            console.print(f"✗ {result.attack.kind} | {result.attack.title}: {reason}", markup=False)
