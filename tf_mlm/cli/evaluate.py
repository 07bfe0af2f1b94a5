"""`tf-mlm evaluate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.text_files import line_by_line_option, text_field_option
from tf_mlm.cli.verb import TensorFlowVerb


@click.command("evaluate", cls=TensorFlowVerb)
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--against", type=click.Path(path_type=Path), help="A second model directory, on the same masks."
)
@click.option("--length", type=int, help="Tokens of one row.  [default: 128, or the model's limit]")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Rows at once.")
@click.option("--mask-rate", type=float, default=0.15, show_default=True, help="Share of tokens predicted.")
@click.option(
    "--packed/--no-packed",
    default=None,
    help="Documents that share a row do not see each other; the default where positions are rotary.",
)
@click.option("--rows", type=click.IntRange(min=1), default=2048, show_default=True, help="Most rows read.")
@click.option("--held-out", type=float, help="Only the documents that training with this share held out.")
@text_field_option
@line_by_line_option
@json_option
def command(
    model_dir: Path,
    files: tuple[str, ...],
    against: Path | None,
    length: int | None,
    batch_size: int,
    mask_rate: float,
    packed: bool | None,
    rows: int,
    held_out: float | None,
    text_field: str,
    line_by_line: bool,
    as_json: bool,
) -> None:
    """Loss, perplexity, top-1 and top-5 of MODEL_DIR on FILES (as for `train`), always on the same masks.

    Example: tf-mlm evaluate my-model news.txt --against old-model
    """
    from tf_mlm.training.evaluation import compare, row_length
    from tf_mlm.training.options import TrainConfig

    directories = [model_dir, *([against] if against else [])]
    config = TrainConfig(
        length=length or row_length(directories),
        batch_size=batch_size,
        mask_rate=mask_rate,
        packed=packed,
        evaluation_rows=rows,
        held_out=TrainConfig.held_out if held_out is None else held_out,
        text_field=text_field,
        line_by_line=line_by_line,
    )
    found = compare(
        directories,
        files,
        config,
        only_held_out=held_out is not None,
        console=None if as_json else console(),
    )
    if as_json:
        results = [
            {"model": str(path), **dataclasses.asdict(one)}
            for path, one in zip(directories, found, strict=True)
        ]
        print_json(results if against else results[0])
        return
    columns = ("loss", "perplexity", "bits per byte", "top-1", "top-5", "most frequent", "masks")
    result = table(None, "model", *columns, right=columns)
    for path, one in zip(directories, found, strict=True):
        shares = (f"{share:.2%}" for share in (one.top_1, one.top_5, one.most_frequent))
        bits = "–" if one.bits_per_byte is None else f"{one.bits_per_byte:.3f}"
        result.add_row(str(path), f"{one.loss:.4f}", f"{one.perplexity:.2f}", bits, *shares, f"{one.masks:,}")
    console().print(result)
