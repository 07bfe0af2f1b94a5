"""`tf-mlm vocab`."""

from __future__ import annotations

from pathlib import Path

import click

from tf_mlm.cli.console import console, json_option, print_json


@click.command("vocab")
@click.argument("files", nargs=-1, required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Where to write vocab.txt.")
@click.option("--size", type=click.IntRange(min=10), required=True, help="Number of tokens.")
@click.option("--cased", is_flag=True, help="Keep upper case and accents.")
@json_option
def command(files: tuple[str, ...], output: Path, size: int, cased: bool, as_json: bool) -> None:
    """Learn a WordPiece vocabulary of SIZE tokens from FILES (text, .gz, .jsonl; globs are expanded).

    Example: tf-mlm vocab corpus/*.txt --output vocab.txt --size 8000
    """
    from tf_mlm.config import TokenizerConfig
    from tf_mlm.text.vocabulary import train_vocabulary
    from tf_mlm.training.corpus import find_files, read_documents

    with console().status("Reading and counting ..."):
        vocabulary = train_vocabulary(
            read_documents(find_files(files)), size, TokenizerConfig(do_lower_case=not cased)
        )
        vocabulary.write(output)
    if as_json:
        print_json({"path": str(output), "tokens": vocabulary.size})
    else:
        click.echo(f"Wrote {output}: {vocabulary.size} tokens.")
