"""`tf-mlm tokenize`."""

from __future__ import annotations

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.text import Text
from tf_mlm.cli.text_files import line_by_line_option, text_field_option
from tf_mlm.cli.verb import TensorFlowVerb
from tf_mlm.target.open import open_target


@click.command("tokenize", cls=TensorFlowVerb)
@click.argument("target")
@click.argument("texts", nargs=-1, type=Text())
@click.option("--to-tfrecord", type=click.Path(), help="Write FILES' token ids there, for `tf-mlm train`.")
@text_field_option
@line_by_line_option
@json_option
def command(
    target: str,
    texts: tuple[str, ...],
    to_tfrecord: str | None,
    text_field: str,
    line_by_line: bool,
    as_json: bool,
) -> None:
    """Show the tokens of TEXTS, their ids and where they stand in the text (bytes).

    TARGET is a model directory, a base path, grpc://host:port/name or http://host:port/name. With
    --to-tfrecord, TARGET is a model directory and TEXTS are files, read as `train` reads them.

    Example: tf-mlm tokenize my-model "The [MASK] sat."
    """
    if not texts:
        raise click.UsageError("Give at least one text (or file).")
    if to_tfrecord:
        from rich.progress import MofNCompleteColumn, Progress

        import tf_mlm
        from tf_mlm.training.data.records import write_token_records

        with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), disable=as_json) as progress:
            task = progress.add_task("documents", total=None)
            preprocessor = tf_mlm.load(target).preprocessor
            if preprocessor is None:
                raise click.ClickException(
                    f"`{target}` has no tokenizer that runs here; use one with WordPiece, BPE or Unigram."
                )
            documents, written = write_token_records(
                texts,
                to_tfrecord,
                preprocessor,
                text_field=text_field,
                line_by_line=line_by_line,
                progress=lambda count: progress.advance(task, count),
            )
        if as_json:
            print_json({"path": to_tfrecord, "documents": documents, "tokens": written})
        else:
            click.echo(f"Wrote {to_tfrecord}: {documents} documents, {written} tokens.")
        return
    with open_target(target) as model:
        found = model.tokenize(list(texts))
    results = [
        [
            {
                "token": token.decode("utf-8", "replace"),
                "id": int(index),
                "start": int(start),
                "end": int(end),
            }
            for token, index, start, end in zip(*(row[:length] for row in rows), strict=True)
        ]
        for length, *rows in zip(
            *(found[alias] for alias in ("lengths", "tokens", "token_ids", "starts", "ends")), strict=True
        )
    ]
    if as_json:
        print_json(results)
        return
    for text, tokens in zip(texts, results, strict=True):
        rows = table(text, "token", "id", "start", "end", right=("id", "start", "end"))
        for token in tokens:
            rows.add_row(token["token"], str(token["id"]), str(token["start"]), str(token["end"]))
        console().print(rows)
