"""`tf-mlm score`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.corpus import CorpusVerb, corpus_options, refuse_settings, run_corpus
from tf_mlm.cli.text import Text
from tf_mlm.cli.text_files import text_field_option
from tf_mlm.cli.texts import all_texts, answered, file_option, refuse_texts
from tf_mlm.target.open import kind_of, open_target


@click.command("score", cls=CorpusVerb)
@click.argument("target")
@click.argument("texts", nargs=-1, type=Text())
@file_option("Score its lines too, or the texts of its JSON values; - is a pipe.")
@click.option(
    "--method",
    type=click.Choice(("salazar", "within-word-l2r")),
    default="salazar",
    show_default=True,
    help="A token given all others, or given all but the later ones of its own word.",
)
@corpus_options
@text_field_option
@json_option
def command(
    target: str,
    texts: tuple[str, ...],
    path: Path | None,
    method: str,
    text_field: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Pseudo-log-likelihood of TEXTS: how expected each token is, given all the others.

    TARGET is a model directory, a base path, grpc://host:port/name or http://host:port/name. A token is
    scored as Salazar et al. (2020) do, or with the rest of its word hidden (Kauf and Ivanova, 2023), which
    needs a model directory. With --corpus and --output the texts are those of files, of any size.

    Example: tf-mlm score my-model "The cat sat." "Sat the cat."
    """
    if settings["corpus"]:
        refuse_texts(texts, path)
        run_corpus(
            "score", target, {**settings, "text_field": text_field}, {"method": method}, as_json=as_json
        )
        return
    from tf_mlm.corpus.answers import scores as scored
    from tf_mlm.corpus.model import check_answers

    refuse_settings(settings)
    lines = all_texts(texts, path, text_field)
    check_answers(kind_of(target)[0], target, "score", {"method": method})
    with open_target(target) as model:
        scores = answered(lines, lambda request: scored(model, request, method=method))
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
