"""`tf-mlm embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.corpus import CorpusVerb, corpus_options, refuse_settings, run_corpus
from tf_mlm.cli.text import Text
from tf_mlm.cli.text_files import text_field_option
from tf_mlm.cli.texts import all_texts, answered, file_option, refuse_texts
from tf_mlm.target.open import kind_of, open_target

SHOWN = 6
"""Numbers of a vector that a table shows."""


@click.command("embed", cls=CorpusVerb)
@click.argument("target")
@click.argument("texts", nargs=-1, type=Text())
@file_option("Embed its lines too, or the texts of its JSON values; - is a pipe.")
@click.option(
    "--pooling",
    type=click.Choice(("mean", "first", "tokens")),
    default="mean",
    show_default=True,
    help="Of the last layer: the mean over all tokens, the first token, or every token's own state.",
)
@click.option("--normalize", is_flag=True, help="Vectors of length 1, so that a product is the cosine.")
@corpus_options
@text_field_option
@json_option
def command(
    target: str,
    texts: tuple[str, ...],
    path: Path | None,
    pooling: str,
    normalize: bool,
    text_field: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Vectors of TEXTS, from the last layer of the model.

    TARGET is a model directory, a base path, grpc://host:port/name or http://host:port/name; all but the mean
    needs a model directory. With --corpus and --output the texts are those of files, of any size.

    Example: tf-mlm embed my-model "The cat sat." --json
    """
    options: dict[str, Any] = {"pooling": pooling, "normalize": normalize}
    if settings["corpus"]:
        refuse_texts(texts, path)
        run_corpus("embed", target, {**settings, "text_field": text_field}, options, as_json=as_json)
        return
    from tf_mlm.corpus.answers import embeddings
    from tf_mlm.corpus.model import check_answers

    refuse_settings(settings)
    lines = all_texts(texts, path, text_field)
    check_answers(kind_of(target)[0], target, "embed", options)
    with open_target(target) as model:
        rows = answered(lines, lambda request: embeddings(model, request, **options))
    if as_json:
        print_json([{name: _listed(value) for name, value in row.items()} for row in rows])
        return
    for row in rows:
        shown = table(row["text"], "token" if pooling == "tokens" else "", "vector")
        vectors = row["embeddings"] if pooling == "tokens" else [row["embedding"]]
        for name, vector in zip(row.get("tokens", [f"{len(vectors[0])} numbers"]), vectors, strict=True):
            shown.add_row(name, " ".join(f"{value:.4f}" for value in vector[:SHOWN]) + " ...")
        console().print(shown)


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
