"""`tf-mlm fill`."""

from __future__ import annotations

from typing import Any

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.corpus import CorpusVerb, corpus_options, refuse_settings, run_corpus
from tf_mlm.cli.text import Text
from tf_mlm.cli.text_files import text_field_option
from tf_mlm.cli.texts import refuse_texts
from tf_mlm.target.open import open_target


@click.command("fill", cls=CorpusVerb)
@click.argument("target")
@click.argument("texts", nargs=-1, type=Text())
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Fills per mask.")
@click.option("--targets", type=Text(), help="Comma-separated words: score only these.")
@corpus_options
@text_field_option
@json_option
def command(
    target: str,
    texts: tuple[str, ...],
    top_k: int,
    targets: str | None,
    text_field: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Fill the masks of TEXTS.

    TARGET is a model directory, a base path, grpc://host:port/name or http://host:port/name. With --corpus
    and --output the texts are those of files, of any size.

    Example: tf-mlm fill my-model "Returns the [MASK] of the list."
    """
    chosen = None if targets is None else targets.split(",")
    if settings["corpus"]:
        refuse_texts(texts)
        options = {"top_k": top_k, "targets": chosen}
        run_corpus("fill", target, {**settings, "text_field": text_field}, options, as_json=as_json)
        return
    refuse_settings(settings)
    if not texts:
        raise click.UsageError("Give at least one text, or --corpus and --output.")
    with open_target(target, top_k) as model:
        results = model.fill(list(texts), top_k=top_k, targets=chosen)
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
