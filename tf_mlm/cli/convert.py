"""`tf-mlm convert`."""

from __future__ import annotations

from pathlib import Path

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.verb import TensorFlowVerb


@click.command("convert", cls=TensorFlowVerb)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.option("--vocab", type=click.Path(path_type=Path), help="vocab.txt, if the checkpoint brings none.")
@click.option("--cased/--uncased", default=None, help="What the vocabulary is for; found out unless given.")
@json_option
def command(source: Path, model_dir: Path, vocab: Path | None, cased: bool | None, as_json: bool) -> None:
    """Turn SOURCE into MODEL_DIR: a KerasHub preset or .keras file, or a Google BERT checkpoint.

    Hugging Face directories need no conversion: every verb reads them as they are.

    Example: tf-mlm convert uncased_L-2_H-128_A-2 my-model
    """
    from tf_mlm.convert.conversion import convert

    report = convert(source, model_dir, vocabulary=vocab, lower_case=None if cased is None else not cased)
    if as_json:
        print_json(report.to_json())
        return
    rows = table(f"{report.source} → {report.directory}", "", "")
    rows.show_header = False
    rows.add_row("kind", report.kind)
    rows.add_row("tensors", f"{report.tensors} ({report.parameters:,} parameters)")
    rows.add_row("largest difference of weights, read back", f"{report.largest_weight_difference:.1e}")
    if report.largest_logit_difference is not None:
        rows.add_row("largest difference of logits", f"{report.largest_logit_difference:.1e}")
        rows.add_row("same best token", f"{report.top1_agreement:.1%} of {report.cases} masks")
    if report.ignored:
        rows.add_row("left out", ", ".join(report.ignored))
    for note in report.notes:
        rows.add_row("note", note)
    console().print(rows)
