"""`tf-mlm score`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.target import open_target
from tf_mlm.cli.text import Text
from tf_mlm.cli.text_files import text_field_option
from tf_mlm.cli.verb import TensorFlowVerb

if TYPE_CHECKING:
    from tf_mlm.serving.client.client import Client


BATCH = 32
"""Lines per request, so that one over the network stays within its time."""


@click.command("score", cls=TensorFlowVerb)
@click.argument("target")
@click.argument("texts", nargs=-1, type=Text())
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Score its lines too, or the texts of its JSON values; - is a pipe.",
)
@text_field_option
@json_option
def command(target: str, texts: tuple[str, ...], path: Path | None, text_field: str, as_json: bool) -> None:
    """Pseudo-log-likelihood of TEXTS: how expected each token is, given all the others.

    TARGET is a model directory, a base path, grpc://host:port/name or http://host:port/name.

    Example: tf-mlm score my-model "The cat sat." "Sat the cat."
    """
    from tf_mlm.training.data.documents import read_texts
    from tf_mlm.training.data.files import find_files

    lines = [text for text in texts if text.strip()]
    for file in find_files([path], once=True) if path else ():
        lines += read_texts(file, text_field=text_field)
    if not lines:
        raise click.UsageError("Give at least one text, or --file with one text per line.")
    with open_target(target) as model:
        scores = [
            row
            for start in range(0, len(lines), BATCH)
            for row in _scored(model, lines[start : start + BATCH])
        ]
    tokens = sum(score["tokens"] for score in scores)
    total = sum(score["score"] for score in scores)
    perplexity = math.exp(-total / max(tokens, 1))
    if as_json:
        print_json({"texts": scores, "tokens": tokens, "pseudo_perplexity": perplexity})
        return
    rows = table(None, "score", "tokens", "perplexity", "text", right=("score", "tokens", "perplexity"))
    for score in scores:
        own = math.exp(-score["score"] / max(score["tokens"], 1))
        rows.add_row(f"{score['score']:.2f}", str(score["tokens"]), f"{own:.1f}", score["text"])
    console().print(rows)
    click.echo(f"pseudo-perplexity over {tokens} tokens: {perplexity:.2f}")


def _scored(model: Client, lines: list[str]) -> list[dict[str, Any]]:
    found = model.score(lines)
    return [
        {"text": line, "score": float(score), "tokens": int(tokens)}
        for line, score, tokens in zip(lines, found["score"], found["scored_tokens"], strict=True)
    ]
