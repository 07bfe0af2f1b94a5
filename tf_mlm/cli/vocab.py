"""`tf-mlm vocab`."""

from __future__ import annotations

from pathlib import Path

import click

from tf_mlm.cli.console import console, json_option, print_json
from tf_mlm.cli.text_files import line_by_line_option, text_field_option
from tf_mlm.config import TokenizerConfig
from tf_mlm.config.architectures import ARCHITECTURES, KINDS, kind_of
from tf_mlm.config.architectures import cased as keeping_case


@click.command("vocab")
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="vocab.txt, or of other kinds a directory.",
)
@click.option("--size", type=click.IntRange(min=10), required=True, help="Number of tokens.")
@click.option(
    "--kind", type=click.Choice(list(KINDS)), help="How words are cut into tokens.  [default: wordpiece]"
)
@click.option(
    "--architecture",
    type=click.Choice(list(ARCHITECTURES)),
    help="Of the model it is for: names the special tokens.  [default: the first one of that kind]",
)
@click.option("--cased", is_flag=True, help="Keep upper case and accents, as byte-bpe always does.")
@text_field_option
@line_by_line_option
@json_option
def command(
    files: tuple[str, ...],
    output: Path,
    size: int,
    kind: str | None,
    architecture: str | None,
    cased: bool,
    text_field: str,
    line_by_line: bool,
    as_json: bool,
) -> None:
    """Learn a vocabulary of SIZE tokens from FILES (text, .gz, .jsonl, .json; globs; - is a pipe).

    WordPiece is a file, vocab.txt; byte-level BPE and Unigram are a directory that transformers reads too.
    Give either to `tf-mlm train --vocab`.

    Example: tf-mlm vocab corpus/*.txt --output vocab.txt --size 8000
    """
    settings = _settings(kind, architecture, cased)
    is_file = settings.model == "WordPiece"
    if not is_file:
        _check_directory(output, kind_of(settings))

    from tf_mlm.model.directory.write_tokenizer import write_vocabulary
    from tf_mlm.reading.documents import read_documents
    from tf_mlm.reading.files import find_files
    from tf_mlm.text.vocabulary_training import learn_vocabulary

    with console().status("Reading and counting ..."):
        documents = read_documents(
            find_files(files, once=True), text_field=text_field, line_by_line=line_by_line
        )
        vocabulary = learn_vocabulary(documents, size, settings)
        if is_file:
            vocabulary.write(output)
        else:
            output.mkdir(parents=True, exist_ok=True)
            write_vocabulary(vocabulary, output)
    if as_json:
        print_json({"path": str(output), "tokens": vocabulary.size})
    else:
        fewer = f" of {size} asked for; no more pieces occur twice" if vocabulary.size < size else ""
        click.echo(f"Wrote {output}: {vocabulary.size} tokens{fewer}.")


def _settings(kind: str | None, architecture: str | None, cased: bool) -> TokenizerConfig:
    """How text is cut for an architecture, or for the first one that has this kind of vocabulary."""
    if architecture is None:
        wanted = kind or next(iter(KINDS))
        architecture = next(name for name, each in ARCHITECTURES.items() if each.kind == wanted)
    known = ARCHITECTURES[architecture]
    if kind not in (None, known.kind):
        raise click.UsageError(
            f"A vocabulary for {architecture} is of the kind {known.kind}. Received: --kind {kind}. Leave "
            "one of the two options out."
        )
    return keeping_case(known.tokenizer) if cased else known.tokenizer


def _check_directory(output: Path, kind: str) -> None:
    """Refuses what is no place for a directory of tokenizer files."""
    rule = f"A {kind} vocabulary is a directory with a tokenizer.json. Received: --output {output}"
    if output.suffix in (".txt", ".json") or (output.exists() and not output.is_dir()):
        raise click.UsageError(f"{rule}, the name of a file. Give a directory, such as `my-vocabulary`.")
    if (output / "config.json").exists():
        raise click.UsageError(f"{rule}, which holds a model: its tokenizer would be lost. Give another.")
