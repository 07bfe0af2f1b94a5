"""`tf-mlm bench`: the benchmarks of a checkout. They are in its `tools/benchmarks`, not in the wheel."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

TOOLS = Path(__file__).parents[2] / "tools"


@click.command("bench", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def absent(arguments: tuple[str, ...]) -> None:
    """Time this package beside its peers; needs a checkout of its source.

    Example: tf-mlm bench head --peers
    """
    raise click.ClickException(
        "`tf-mlm bench` needs a checkout of tf_mlm's source, which holds tools/benchmarks: run it there."
    )


def find(tools: Path) -> click.Command:
    """The command of a checkout, or one that says that there is none."""
    if not (tools / "benchmarks").is_dir():
        return absent
    sys.path.append(str(tools))
    found: click.Command = importlib.import_module("benchmarks.command").command
    return found


command = find(TOOLS)
