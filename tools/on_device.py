"""The command line of `tools/on_device`: the real programs, to be run where jax sees a GPU or a TPU."""

from __future__ import annotations

import os
from pathlib import Path

import click

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
FILLS = ("1x16x1", "1x32x2", "1x128x8", "8x32x2", "8x128x8", "32x64x4", "64x128x8", "256x128x8")
TRAININGS = ("32x128x20", "256x128x20")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--model", type=click.Path(path_type=Path), help="Model directory for its sizes; else BERT-base."
)
@click.option("--fill", "fills", multiple=True, help=f"ROWSxTOKENSxMASKS.  [default: {', '.join(FILLS)}]")
@click.option(
    "--train", "trainings", multiple=True, help=f"ROWSxTOKENSxMASKS.  [default: {', '.join(TRAININGS)}]"
)
@click.option("--dtype", "dtypes", multiple=True, default=("mixed_bfloat16",), show_default=True)
def main(
    folder: Path,
    model: Path | None,
    fills: tuple[str, ...],
    trainings: tuple[str, ...],
    dtypes: tuple[str, ...],
) -> None:
    """Lower the fill program and the training step into FOLDER, for a machine with a GPU or a TPU.

    No TensorFlow is needed where they run: copy FOLDER to a machine whose jax sees the device, and run
    `python3 FOLDER/run.py --peers` there. It compares the answers with those of transformers in torch, whose
    random weights are the same, and times both; `run.py --help` tells more.

    Example: tools/on_device programs --fill 256x128x8 --train 256x128x20
    """
    from benchmarks.device_programs import Programs, shapes
    from tf_mlm.config import ModelConfig
    from tf_mlm.model.directory.checkpoint import read_config

    programs = Programs(read_config(model) if model else ModelConfig(), folder)
    try:
        wanted = (shapes(fills or FILLS), shapes(trainings or TRAININGS))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    for dtype in dtypes:
        for shape in wanted[0]:
            programs.fill(shape, dtype)
        for shape in wanted[1]:
            programs.train(shape, dtype)
    if wanted[1]:
        programs.train(wanted[1][0]._replace(batch=8), "float32", dropout=False)
    click.echo(f"There: python3 {programs.finish()}/run.py --peers")
