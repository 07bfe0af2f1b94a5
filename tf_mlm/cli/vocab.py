"""`tf-mlm vocab`."""

from __future__ import annotations

from pathlib import Path

import click

from tf_mlm.cli.console import console, json_option, print_json
from tf_mlm.cli.text_files import line_by_line_option, text_field_option


@click.command("vocab")
@click.argument("files", nargs=-1, required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Where to write vocab.txt.")
@click.option("--size", type=click.IntRange(min=10), required=True, help="Number of tokens.")
@click.option("--cased", is_flag=True, help="Keep upper case and accents.")
@text_field_option
@line_by_line_option
@json_option
def command(
    files: tuple[str, ...],
    output: Path,
    size: int,
    cased: bool,
    text_field: str,
    line_by_line: bool,
    as_json: bool,
) -> None:
    """Learn a WordPiece vocabulary of SIZE tokens from FILES (text, .gz, .jsonl, .json; globs; - is a pipe).

    Example: tf-mlm vocab corpus/*.txt --output vocab.txt --size 8000
    """
    from tf_mlm.config import TokenizerConfig
    from tf_mlm.text.wordpiece_training import train_vocabulary
    from tf_mlm.training.data.documents import read_documents
    from tf_mlm.training.data.files import find_files

    with console().status("Reading and counting ..."):
        documents = read_documents(
            find_files(files, once=True), text_field=text_field, line_by_line=line_by_line
        )
        vocabulary = train_vocabulary(documents, size, TokenizerConfig(do_lower_case=not cased))
        vocabulary.write(output)
    if as_json:
        print_json({"path": str(output), "tokens": vocabulary.size})
    else:
        click.echo(f"Wrote {output}: {vocabulary.size} tokens.")
