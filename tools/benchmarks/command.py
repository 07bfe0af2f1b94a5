"""The command line of `tf-mlm bench` and `tools/benchmark`."""

from __future__ import annotations

import importlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tf_mlm.cli.console import console, table
from tf_mlm.cli.verb import TensorFlowVerb

if TYPE_CHECKING:
    from benchmarks.contest import Outcome

# Work → what it times; `benchmarks.<work>.outcomes(peers)` yields its rows.
WORK = {
    "head": "rows of hidden states to logits, 768 to 30,522",
    "fill": "ids to the five likeliest tokens, BERT-base",
    "text": "raw text to the five likeliest tokens",
    "score": "pseudo-log-likelihood of sentences",
    "growth": "what a token costs as texts and batches grow",
    "memory": "memory and time of a training step as texts grow",
    "serve": "requests to a server",
    "corpus": "a file over local workers, plan and commits",
    "shards": "text to shards of packed rows, and the memory of training on a thousand",
    "train": "training steps, of short texts and of long ones",
    "recipes": "what the old and the new way to train learn in the same time",
    "preprocess": "text to masked batches",
    "tokenize": "text to ids",
    "page": "fills on the screen of `tf-mlm page`, and the browser's longest task",
    "cold-start": "loading and warming an export",
    "startup": "importing the package, and --help",
}


class BenchVerb(TensorFlowVerb):
    """Keeps the process on its cores before TensorFlow counts them; lists what can be timed in its help."""

    def invoke(self, ctx: click.Context) -> Any:
        from benchmarks.machine import pin

        pin(ctx.params["cores"])
        return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Work"):
            formatter.write_dl(list(WORK.items()))


@click.command("bench", cls=BenchVerb)
@click.argument("work", type=click.Choice(list(WORK)), metavar="WORK")
@click.option("--peers", is_flag=True, help="Time the peers beside (they come with the [bench] extra).")
@click.option("--cores", type=click.IntRange(min=1), default=2, show_default=True, help="Cores for everyone.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the ratios to the peers there (PNG).")
def command(work: str, peers: bool, cores: int, json_file: Path | None, picture: Path | None) -> None:
    """Time WORK here, and with --peers beside what else could do it: same weights, same answers, same run.

    A ratio is the peer's time over ours; above 1 we are faster. Its range is over single rounds.

    Example: tf-mlm bench head --peers
    """
    if picture and not peers:
        raise click.UsageError("--picture draws ratios to the peers, so it needs --peers.")
    out = console()
    found: list[Outcome] = []
    for outcome in importlib.import_module(f"benchmarks.{work.replace('-', '_')}").outcomes(peers):
        found.append(outcome)
        out.print(f"{outcome.work}: answers agree within {outcome.difference:.1e}")
        if json_file:  # after every row, so that an interrupted run leaves what it found
            json_file.write_text(
                json.dumps([one.to_json() for one in found], indent=2) + "\n", encoding="utf-8"
            )
    _print(found)
    if picture:
        from benchmarks.picture import draw

        draw(found, f"tf-mlm bench {work}, {cores} cores", picture)


def _print(outcomes: Sequence[Outcome]) -> None:
    out = console()
    for outcome in outcomes:
        numbers = ["median", "µs each", "per second", "ratio", "of floor"]
        columns = [name for name in numbers if outcome.items or name not in ("µs each", "per second")]
        rows = table(outcome.work, "contender", *columns, "range", right=tuple(numbers))
        for name, milliseconds in outcome.milliseconds.items():
            ratio = outcome.ratios.get(name)
            cells = {
                "median": f"{milliseconds:,.{2 if milliseconds >= 10 else 3}f} {outcome.unit}",
                "µs each": f"{1e3 * milliseconds / outcome.items:.1f}" if outcome.items else "",
                "per second": f"{1e3 * outcome.items / milliseconds:,.0f}" if outcome.items else "",
                "ratio": f"{ratio.median:.2f}" if ratio else "",
                "of floor": f"{outcome.floor / milliseconds:.2f}" if outcome.floor else "",
            }
            spread = f"{ratio.low:.2f} to {ratio.high:.2f}" if ratio else ""
            rows.add_row(name, *(cells[column] for column in columns), spread)
        out.print(rows)
    for peer, (mean, rows_of_peer) in geometric_means(outcomes).items():
        out.print(f"{peer}: ratio [bold]{mean:.2f}[/], geometric mean of {rows_of_peer} rows")


def geometric_means(outcomes: Sequence[Outcome]) -> dict[str, tuple[float, int]]:
    """Per peer that took part in several rows, its mean ratio and their number."""
    ratios: dict[str, list[float]] = {}
    for outcome in outcomes:
        for peer, ratio in outcome.ratios.items():
            ratios.setdefault(peer, []).append(ratio.median)
    return {
        peer: (statistics.geometric_mean(medians), len(medians))
        for peer, medians in ratios.items()
        if len(medians) > 1
    }
