"""The command line of `tools/tpu_compile`: does it compile for a TPU, and how much of a chip does it take?"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tf_mlm.cli.console import console, table
from tf_mlm.cli.sizes import Sizes

if TYPE_CHECKING:
    from benchmarks.tpu_compiler import Compiled, TpuCompiler

# Of each the published sizes: what its `config.json` means where it says nothing else.
SHAPES = {"bert-base": "bert", "modernbert-base": "modernbert"}

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--chip", default="v5e", show_default=True, help="v4, v5e, v5p or v6e.")
@click.option("--model", type=click.Path(path_type=Path), help="Model directory for its sizes.")
@click.option(
    "--shape",
    type=click.Choice(list(SHAPES)),
    default="bert-base",
    show_default=True,
    help="Sizes without --model.",
)
@click.option("--recompute", is_flag=True, help="Training computes each layer again in the backward pass.")
@click.option("--length", "lengths", type=Sizes(), default=(512,), help="Tokens per row.  [default: 512]")
@click.option("--batch", "batches", type=Sizes(), help="Rows per core.  [default: find the most that fit]")
@click.option("--work", type=click.Choice(["train", "serve", "both"]), default="both", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    chip: str,
    model: Path | None,
    shape: str,
    recompute: bool,
    lengths: tuple[int, ...],
    batches: tuple[int, ...] | None,
    work: str,
    as_json: bool,
) -> None:
    """Compile for a TPU with the real compiler, on a machine without one (needs the [tpu-aot] extra).

    Prints whether each program compiles, and the memory it takes of one core.

    Example: tools/tpu_compile --chip v5e --length 128,512
    """
    from benchmarks.tpu_compiler import TpuCompiler
    from tf_mlm.model.directory import checkpoint, config_json

    config = (
        checkpoint.read_config(model) if model else config_json.read_config({"model_type": SHAPES[shape]})
    )
    try:
        compiler = TpuCompiler(chip)
    except (ValueError, ModuleNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    programs: dict[str, Any] = {
        "train": functools.partial(compiler.train, recompute=recompute),
        "serve": compiler.serve,
    }
    results, largest = [], []
    for name in ("train", "serve") if work == "both" else (work,):
        for length in lengths:
            found = (
                (programs[name](config, batch=batch, length=length) for batch in batches)
                if batches
                else compiler.largest_batch(programs[name], config, length=length)
            )
            tried = []
            for result in found:
                tried.append(result)
                click.echo(f"{name} {result.batch}×{length}: {'fits' if result.fits else 'no'}", err=True)
            results += sorted(tried, key=lambda result: result.batch)
            fitting = [result.batch for result in tried if result.fits]
            largest.append({"work": name, "length": length, "batch": max(fitting, default=0)})
    if as_json:
        rows = [dataclasses.asdict(result) for result in results]
        click.echo(json.dumps({"chip": chip, "programs": rows, "largest": largest}, indent=2))
    else:
        _print(compiler, results, largest)
    sys.exit(0 if all(result.compiles or not batches for result in results) else 1)


def _print(compiler: TpuCompiler, results: Sequence[Compiled], largest: Sequence[dict[str, Any]]) -> None:
    gib = 2**30
    columns = ("batch", "length", "arguments", "outputs", "temporaries", "needed", "GFLOP")
    rows = table(f"{compiler.chip.hbm / gib:.0f} GiB per core", "work", *columns, "", right=columns)
    for one in results:
        sizes = (
            f"{size / gib:.2f} GiB" for size in (one.arguments, one.outputs, one.temporaries, one.needed)
        )
        verdict = "fits" if one.fits else "too large" if one.compiles else one.error
        rows.add_row(one.work, str(one.batch), str(one.length), *sizes, f"{one.flops / 1e9:.0f}", verdict)
    console().print(rows)
    for row in largest:
        console().print(
            f"largest batch per core, {row['work']}, length {row['length']}: [bold]{row['batch']}[/]"
        )
