"""`tf-mlm fill`."""

from __future__ import annotations

from typing import Any

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.target import open_target
from tf_mlm.cli.text import Text
from tf_mlm.cli.verb import TensorFlowVerb


@click.command("fill", cls=TensorFlowVerb)
@click.argument("target")
@click.argument("texts", nargs=-1, required=True, type=Text())
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Fills per mask.")
@click.option("--targets", type=Text(), help="Comma-separated words: score only these.")
@json_option
def command(target: str, texts: tuple[str, ...], top_k: int, targets: str | None, as_json: bool) -> None:
    """Fill the masks of TEXTS.

    TARGET is a model directory, a base path, grpc://host:port/name or http://host:port/name.

    Example: tf-mlm fill my-model "Returns the [MASK] of the list."
    """
    with open_target(target, top_k) as model:
        results = model.fill(
            list(texts), top_k=top_k, targets=None if targets is None else targets.split(",")
        )
    if as_json:
        print_json(results)
        return
    for text, fills in zip(texts, results, strict=True):
        console().print(fill_table(text, fills))


def fill_table(text: str, fills: list[Any]) -> Any:
    """One row per rank, one pair of columns per mask."""
    masks = fills if isinstance(fills[0], list) else [fills]
    columns = [name for _ in masks for name in ("fill", "score")]
    rows = table(text, *columns, right=("score",))
    for ranked in zip(*masks, strict=True):
        rows.add_row(*(cell for fill in ranked for cell in (fill["token_str"], f"{fill['score']:.4f}")))
    return rows
