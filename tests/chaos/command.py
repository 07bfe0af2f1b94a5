"""The command line of `tools/chaos`."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from conftest import make_tiny_model

from chaos.corpus_files import write_corpus
from chaos.killing import disturb, start, watch_memory


@click.command("chaos")
@click.option("--rows", type=click.IntRange(min=8), default=100_000, show_default=True, help="Of the corpus.")
@click.option("--kills", type=click.IntRange(min=0), default=10, show_default=True, help="Workers to kill.")
@click.option("--runner", "runners", multiple=True, default=("local", "ray"), show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="At a time.")
@click.option("--pause", type=float, default=6.0, show_default=True, help="Most seconds between two kills.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the corpus and of the kills.")
def main(rows: int, kills: int, runners: tuple[str, ...], workers: int, pause: float, seed: int) -> None:
    """Kills workers of a job, and its driver once, and compares its output with that of an undisturbed one.

    Example: tools/chaos --rows 2000 --kills 3 --runner local
    """
    from tf_mlm.model.directory.checkpoint import save

    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        save(make_tiny_model(), folder / "model")
        ids = write_corpus(folder / "corpus", rows, seed=seed)
        unit = max(1, sum(path.stat().st_size for path in (folder / "corpus").iterdir()) // 40)
        arguments = ["embed", str(folder / "model"), "--corpus", f"{folder}/corpus/*", "--batch", "256"]
        arguments += ["--unit-bytes", str(unit), "--workers", str(workers), "--json"]
        begun = time.monotonic()
        job = start([*arguments, "--output", str(folder / "undisturbed")], folder)
        memory = watch_memory(job)
        if job.wait():
            raise click.ClickException("The undisturbed job failed.")
        expected = _parts(folder / "undisturbed")
        _check_ids(expected, ids)
        click.echo(f"undisturbed: {rows:,} rows in {len(expected)} parts, {time.monotonic() - begun:.0f} s")
        click.echo(
            "memory of a worker, a tenth of the time each: " + ", ".join(f"{mb:.0f}" for mb in memory) + " MB"
        )
        for runner in runners:
            output = folder / runner
            found = _chaos(
                [*arguments, "--runner", runner, "--output", str(output)], folder, runner, kills, pause, seed
            )
            same = _parts(output) == expected
            click.echo(f"{runner}: {json.dumps({**found, 'identical': same})}")
            if not same or found["workers killed"] < kills:
                raise click.ClickException(f"{runner}: another output, or too few kills for so few rows.")
    finally:
        shutil.rmtree(folder)


def _chaos(
    arguments: list[str], folder: Path, runner: str, kills: int, pause: float, seed: int
) -> dict[str, Any]:
    """A job whose workers die, half of them before its driver does and half behind; what happened."""
    chance, begun = random.Random(seed), time.monotonic()
    job = start(arguments, folder)
    killed = disturb(job, runner, kills // 2, chance, pause)
    driver = job.poll() is None
    if driver:
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
        job = start(arguments, folder)
    killed += disturb(job, runner, kills - killed, chance, pause)
    if job.wait():
        raise click.ClickException(f"{runner}: the job failed.")
    seconds = round(time.monotonic() - begun)
    return {"workers killed": killed, "drivers killed": int(driver), "seconds": seconds}


def _parts(output: Path) -> dict[str, bytes]:
    if not (output / "_SUCCESS").is_file():
        raise click.ClickException(f"{output.name} has no _SUCCESS.")
    return {path.name: path.read_bytes() for path in sorted(output.glob("part-*"))}


def _check_ids(parts: dict[str, bytes], ids: set[str]) -> None:
    found = [json.loads(line) for data in parts.values() for line in data.splitlines()]
    names = [row["id"] for row in found]
    if len(names) != len(ids) or set(names) != ids or any("error" in row for row in found):
        raise click.ClickException(
            f"{len(names)} rows came of {len(ids)}, {len(set(names) ^ ids)} ids differ."
        )
