"""The command line of `tools/conformance`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from conformance.runner import Outcome

ROOT = Path(__file__).parents[2]
OURS = f"{shlex.quote(sys.executable)} -m tf_mlm.serving.model_server"
LEFT_OUT = (
    "Left out: TensorFlow Lite models, which need an interpreter beside TensorFlow; the profiler, a tool "
    "with its own protocol; GPUs, Google ALTS and memory hints, which no answer depends on (flags for "
    "them are taken and have no effect: see --help of the server)."
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("grpc_address", metavar="[HOST:GRPC_PORT", required=False)
@click.argument("rest_address", metavar="HOST:REST_PORT]", required=False)
@click.option(
    "--write-models", metavar="DIR", type=click.Path(path_type=Path), help="Write the models and their flags."
)
@click.option(
    "--batching", is_flag=True, help="The server was started with the batching flags: run those cases."
)
@click.option(
    "--start", "command", metavar="COMMAND", help="Start servers with this command, and run every case."
)
@click.option(
    "--ours", is_flag=True, help="Start the embedded server: --start 'python -m tf_mlm.serving.model_server'."
)
@click.option(
    "--section",
    "sections",
    metavar="PREFIX",
    multiple=True,
    help="Only sections that start so, e.g. 3 or 4.2.",
)
@click.option("--match", metavar="TEXT", default="", help="Only cases whose title contains this.")
@click.option("--list", "listing", is_flag=True, help="List the cases and stop.")
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write the outcomes here.",
)
def main(
    grpc_address: str | None,
    rest_address: str | None,
    write_models: Path | None,
    batching: bool,
    command: str | None,
    ours: bool,
    sections: tuple[str, ...],
    match: str,
    listing: bool,
    json_file: Path | None,
) -> None:
    """Check a server against the observable behaviour of tensorflow_model_server.

    With two addresses, the server that is running there must serve the models of --write-models, started with
    the flags that it prints. With --start or --ours the suite starts servers itself, on free loopback ports,
    and also runs the cases about flags, exit statuses, version directories and reloads.

    \b
    Example:
      tools/conformance --write-models /tmp/conformance
      tensorflow_model_server --port=8500 --rest_api_port=8501 <the printed flags> &
      tools/conformance localhost:8500 localhost:8501
    \b
      tools/conformance --start tensorflow_model_server
      tools/conformance --ours --section 4.2

    The exit status is 0 if every case passed and 1 if one failed.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started servers are stopped, too
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    command = OURS if ours else command
    if write_models is not None:
        return show_flags(write_models)
    if not listing and command is None and rest_address is None:
        raise click.UsageError(
            "Two addresses are needed, or --start, --ours, --write-models or --list. "
            f"Received: {grpc_address or 'nothing'}. "
            "For example: tools/conformance localhost:8500 localhost:8501"
        )
    from conformance.case import Needs
    from conformance.suite import cases

    needs = (
        frozenset(Needs) if command or listing else frozenset({Needs.BATCHING if batching else Needs.SERVER})
    )
    chosen = [case for case in cases(sections, needs) if match.lower() in case.title.lower()]
    if not chosen:
        raise click.UsageError(
            f"No case matches. Received: --section {sections} --match {match!r}; see --list."
        )
    if listing:
        for case in chosen:
            click.echo(f"{case.section} | {case.title} | needs {case.needs.value}")
        return None
    if command is not None:
        outcomes = run_started(shlex.split(command), chosen)
    else:
        outcomes = run_against(str(grpc_address), str(rest_address), chosen)
    report(outcomes)
    if json_file is not None:
        json_file.write_text(json.dumps([outcome.to_json() for outcome in outcomes], indent=1))
    raise SystemExit(0 if all(outcome.passed for outcome in outcomes) else 1)


def show_flags(directory: Path) -> None:
    from conformance.repository import Repository

    try:
        repository = Repository(directory).write()
    except FileExistsError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Models and configuration files are in {repository.directory}.\n\nFlags for the suite:")
    click.echo("  --port=8500 --rest_api_port=8501 " + " ".join(repository.standard_flags))
    click.echo("\nFlags for the suite with --batching:")
    click.echo("  --port=8500 --rest_api_port=8501 " + " ".join(repository.batching_flags))
    click.echo(
        "\nPut them behind `tensorflow_model_server` or `python -m tf_mlm.serving.model_server`. "
        "In a container, mount the directory under the same path."
    )


def run_against(grpc_address: str, rest_address: str, cases: list[Any]) -> list[Outcome]:
    from conformance.case import Needs
    from conformance.server import Server

    server = Server(grpc_address, rest_address)
    try:
        return progress(cases, {Needs.SERVER: lambda: server, Needs.BATCHING: lambda: server})
    finally:
        server.close()


def run_started(command: list[str], cases: list[Any]) -> list[Outcome]:
    from conformance.case import Needs
    from conformance.launcher import Launcher
    from conformance.repository import Repository

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory(prefix="conformance-models-") as directory:
        launcher = Launcher(command, Repository(Path(directory)).write())
        targets: dict[Needs, Callable[[], Any]] = {
            Needs.SERVER: lambda: launcher.standard,
            Needs.BATCHING: lambda: launcher.batching,
            Needs.LAUNCHER: lambda: launcher,
            Needs.PROCESS: lambda: launcher,
        }
        try:
            return progress(cases, targets)
        finally:
            launcher.close()


def progress(cases: list[Any], targets: dict[Any, Callable[[], Any]]) -> list[Outcome]:
    """Runs the cases; a terminal sees how far they are."""
    from conformance.runner import run

    console = Console(stderr=True)
    outcomes = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(cases))
        for outcome in run(cases, targets):
            outcomes.append(outcome)
            bar.update(task, advance=1, description=outcome.case.section)
    return outcomes


def report(outcomes: list[Outcome]) -> None:
    """A table by section, then every failure."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title="Conformance to tensorflow_model_server")
    for name, justify in (
        ("section", "left"),
        ("passed", "right"),
        ("failed", "right"),
        ("seconds", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    by_section: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_section.setdefault(outcome.case.section, []).append(outcome)
    for section, group in by_section.items():
        failed = sum(not outcome.passed for outcome in group)
        style = "red" if failed else None
        seconds = sum(outcome.seconds for outcome in group)
        table.add_row(section, str(len(group) - failed), str(failed or ""), f"{seconds:.1f}", style=style)
    table.add_section()
    failed = sum(not outcome.passed for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    table.add_row("all", str(len(outcomes) - failed), str(failed or ""), f"{seconds:.1f}", style="bold")
    console.print(table)
    console.print(LEFT_OUT, highlight=False)
    for outcome in outcomes:
        if outcome.failure is not None:
            console.print(f"[red]✗[/red] {escape(outcome.case.section)} | {escape(outcome.case.title)}")
            console.print(f"    {escape(outcome.failure)}", highlight=False)
