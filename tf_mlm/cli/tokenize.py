"""`tf-mlm tokenize`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.corpus import check_engine, do_job, engine_options, refuse_settings
from tf_mlm.cli.text import Text
from tf_mlm.cli.text_files import line_by_line_option, text_field_option
from tf_mlm.cli.verb import TensorFlowVerb
from tf_mlm.target.open import open_target

_RECORDS = re.compile(r"\.tfrecords?(\.gz)?$|\.gz$", re.IGNORECASE)
LENGTH = 128
"""Tokens of a row, where no --length is given."""


@click.command("tokenize", cls=TensorFlowVerb)
@click.argument("target")
@click.argument("texts", nargs=-1, type=Text())
@click.option(
    "--to-tfrecord",
    help="Write FILES' token ids there, for `tf-mlm train`: a file *.tfrecord, or a directory of shards.",
)
@click.option("--length", type=click.IntRange(min=3), help="Of shards: tokens of a row.  [default: 128]")
@click.option(
    "--packed/--no-packed",
    default=None,
    help="Of shards: documents that share a row do not see each other; the default for rotary positions.",
)
@click.option("--held-out", type=float, help="Of shards: share of the documents not trained on.")
@engine_options
@text_field_option
@line_by_line_option
@json_option
def command(
    target: str,
    texts: tuple[str, ...],
    to_tfrecord: str | None,
    length: int | None,
    packed: bool | None,
    held_out: float | None,
    text_field: str,
    line_by_line: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Show the tokens of TEXTS, their ids and where they stand in the text (bytes).

    TARGET is a model directory, a base path, grpc://host:port/name or http://host:port/name. With
    --to-tfrecord, TARGET is a model directory and TEXTS are files, read as `train` reads them; into a
    directory they are written as packed rows, in shards that `train` reads where they lie, by any number of
    processes.

    Example: tf-mlm tokenize my-model "The [MASK] sat."
    """
    if not texts:
        raise click.UsageError("Give at least one text (or file).")
    if to_tfrecord and not _RECORDS.search(to_tfrecord):
        options: dict[str, Any] = {"length": length or LENGTH, "held_out": held_out, "packed": packed}
        options |= {"text_field": text_field, "line_by_line": line_by_line}
        _write_shards(target, texts, to_tfrecord, options, settings, as_json)
        return
    given: dict[str, Any] = {"length": length, "packed": packed, "held-out": held_out}
    if unused := [name for name, value in given.items() if value is not None]:
        raise click.UsageError(f"--{unused[0]} is of shards: name a directory with --to-tfrecord.")
    refuse_settings(settings, "--to-tfrecord DIRECTORY")
    if to_tfrecord:
        _write_records(target, texts, to_tfrecord, text_field, line_by_line, as_json)
        return
    with open_target(target) as model:
        found = model.tokenize(list(texts))
    columns = (found[alias] for alias in ("lengths", "tokens", "token_ids", "starts", "ends"))
    results = [
        [
            {
                "token": token.decode("utf-8", "replace"),
                "id": int(index),
                "start": int(start),
                "end": int(end),
            }
            for token, index, start, end in zip(*(row[:count] for row in rows), strict=True)
        ]
        for count, *rows in zip(*columns, strict=True)
    ]
    if as_json:
        print_json(results)
        return
    for text, tokens in zip(texts, results, strict=True):
        rows = table(text, "token", "id", "start", "end", right=("id", "start", "end"))
        for token in tokens:
            rows.add_row(token["token"], str(token["id"]), str(token["start"]), str(token["end"]))
        console().print(rows)


def _write_records(
    target: str, files: Sequence[str], output: str, text_field: str, line_by_line: bool, as_json: bool
) -> None:
    """Tokenizes files into one file of records, each a document."""
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
            files,
            output,
            preprocessor,
            text_field=text_field,
            line_by_line=line_by_line,
            progress=lambda count: progress.advance(task, count),
        )
    if as_json:
        print_json({"path": output, "documents": documents, "tokens": written})
    else:
        click.echo(f"Wrote {output}: {documents} documents, {written} tokens.")


def _write_shards(
    target: str,
    files: Sequence[str],
    output: str,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Does the job of tokenizing files into a directory of shards."""
    from tf_mlm.corpus.model import check_answers
    from tf_mlm.corpus.plan import make_job
    from tf_mlm.corpus.tokenize import fingerprint, is_packed, preprocessor_of
    from tf_mlm.target.open import kind_of
    from tf_mlm.training.options import TrainConfig

    check_engine(settings)
    kind, path = kind_of(target)
    check_answers(kind, target, "tokenize", options)
    share = TrainConfig.held_out if options["held_out"] is None else options["held_out"]
    TrainConfig(length=options["length"], held_out=share)  # which says what these may be
    plain = {name: value for name, value in options.items() if name != "packed"}
    if is_packed(str(path), options["packed"]):  # else the plan is that of earlier versions
        plain["packed"] = True
    job = make_job(
        files,
        output,
        verb="tokenize",
        target=str(path.resolve()),
        model=fingerprint(preprocessor_of(str(path))),
        options={**plain, "held_out": share, "id_field": "id", "unit_bytes": settings["unit_bytes"]},
    )
    do_job(job, settings, as_json=as_json)
