"""`tf-mlm bench`."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import click

from tf_mlm.cli.console import console, table
from tf_mlm.cli.verb import TensorFlowVerb

WORKS = ("head", "fill", "score", "serve", "train", "preprocess", "cold-start", "startup")


@click.command("bench", cls=TensorFlowVerb)
@click.argument("work", type=click.Choice(WORKS))
@click.option(
    "--peers", is_flag=True, help="Time KerasHub, transformers and torch beside (the [bench] extra)."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there.")
def command(work: str, peers: bool, json_file: Path | None) -> None:
    """Time WORK here, and with --peers beside what else could do it: same weights, same answers, same run.

    A ratio is the peer's time over ours; above 1 we are faster. Its range is over single rounds.

    Example: tf-mlm bench head --peers
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # every contender on the same two cores
    out = console()
    rows = table(
        None, "work", "contender", "ms", "ratio", "range", "of floor", right=("ms", "ratio", "of floor")
    )
    results = []
    for outcome in importlib.import_module(f"tf_mlm.bench.{work.replace('-', '_')}").outcomes(peers):
        results.append(outcome.to_json())
        for index, (name, milliseconds) in enumerate(outcome.milliseconds.items()):
            ratio = outcome.ratios.get(name)
            rows.add_row(
                "" if index else outcome.work,
                name,
                f"{milliseconds:.2f}",
                f"{ratio.median:.2f}" if ratio else "",
                f"{ratio.low:.2f} to {ratio.high:.2f}" if ratio else "",
                f"{outcome.floor / milliseconds:.2f}" if outcome.floor else "",
            )
        out.print(f"{outcome.work}: answers agree within {outcome.difference:.1e}")
    out.print(rows)
    if json_file:
        json_file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
