"""The command line of `tools/parity`: the same numbers as the peers, each claim a row of one table."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from parity.claim import Claim, Row
    from parity.tokenizer import ClassOfText
    from rich.table import Table

for name in ("TF_CPP_MIN_LOG_LEVEL", "TRANSFORMERS_NO_ADVISORY_WARNINGS"):
    os.environ.setdefault(name, "3")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="The subset of the cases that the test suite runs.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option(
    "--only", multiple=True, metavar="WORD", help="Only the claims whose name contains WORD; may be repeated."
)
def main(quick: bool, as_json: bool, only: tuple[str, ...]) -> None:
    """Measure every claim of sameness: the largest difference over its cases, and the bound it must keep.

    All cases take twenty minutes on two quiet cores. Needs the peers: pip install 'tf-mlm[bench]'. Exits with
    1 if a claim does not hold.

    Example: tools/parity --quick --only head
    """
    try:
        with _quiet():
            _quiet_libraries()
            from parity.claims import CLAIMS
            from parity.tokenizer import classes, classes_of_text
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"tools/parity needs {error.name}: run `pip install 'tf-mlm[bench]'`."
        ) from error
    from rich.console import Console

    chosen = [
        claim for claim in CLAIMS if not only or any(word.lower() in claim.name.lower() for word in only)
    ]
    if not chosen:
        raise click.UsageError(f"No claim's name contains {' or '.join(only)}; --json lists them all.")
    console = Console(stderr=True)
    rows = []
    for claim in chosen:
        console.print(f"[dim]{claim.name} ...[/]")
        with _quiet():
            row = _run(claim, quick)
        rows.append(row)
        # At once: a run that is interrupted has said what it found.
        verdict = "holds" if row.holds else "FAILS"
        console.print(f"  {row.largest:.2g} of {row.bound:.2g} in {row.cases} cases: {verdict}")
    if as_json:
        click.echo(json.dumps([{**dataclasses.asdict(row), "holds": row.holds} for row in rows], indent=2))
    else:
        screen = Console(width=max(Console().width, 110))
        screen.print(_table(rows))
        if classes in chosen:
            screen.print(_class_table(classes_of_text(quick)))
        for row in rows:
            if not row.holds:
                click.echo(f"{row.claim}: worst case {row.worst}", err=True)
    sys.exit(0 if all(row.holds for row in rows) else 1)


def _run(claim: Claim, quick: bool) -> Row:
    """The claim's row; what cannot be measured does not hold."""
    from parity.claim import Row

    try:
        return claim.run(quick)
    except Exception as error:
        return Row(claim.name, float("inf"), claim.bound, 0, f"{type(error).__name__}: {error}", 0.0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the peers' progress bars and advice, from Python and from C++, off the table."""
    sys.stderr.flush()
    kept = os.dup(2)
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _quiet_libraries() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _table(rows: Sequence[Row]) -> Table:
    from rich.table import Table

    table = Table("Claim", title="Parity with KerasHub, transformers and Google's BERT")
    for title in ("Largest", "Bound", "Cases", "Seconds"):
        table.add_column(title, justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(
            row.claim,
            f"{row.largest:.2g}",
            f"{row.bound:.2g}",
            str(row.cases),
            f"{row.seconds:.0f}",
            "[green]holds[/]" if row.holds else "[red]FAILS[/]",
        )
    return table


def _class_table(rows: Sequence[ClassOfText]) -> Table:
    """Which classes of text `tf.text` alone gets wrong, and what is left of that here."""
    from rich.table import Table

    table = Table("Class of text", title="Lines whose tokens differ from BertTokenizerFast's")
    kinds = list(dict.fromkeys(row.tokenizer for row in rows))
    table.add_column("Lines", justify="right")
    for kind in kinds:
        table.add_column(f"tf.text, {kind}", justify="right")
    table.add_column("Here", justify="right")
    for name in dict.fromkeys(row.name for row in rows):
        found = {row.tokenizer: row for row in rows if row.name == name}
        table.add_row(
            name,
            str(max(row.lines for row in found.values())),
            *(str(found[kind].tf_text) for kind in kinds),
            str(sum(row.ours for row in found.values())),
        )
    return table
