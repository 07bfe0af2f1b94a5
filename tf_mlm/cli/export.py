"""`tf-mlm export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.sizes import Sizes
from tf_mlm.cli.stored_weights import rounded, storage
from tf_mlm.cli.text_files import text_field_option
from tf_mlm.cli.verb import TensorFlowVerb
from tf_mlm.signatures import PORTABLE

if TYPE_CHECKING:
    from tf_mlm.config import Buckets
    from tf_mlm.model.masked_lm import MaskedLM


@click.command("export", cls=TensorFlowVerb)
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.argument("base_path", type=click.Path(path_type=Path))
@click.option("--version", type=click.IntRange(min=0), help="Version number; default: the next free one.")
@click.option("--top-k", type=click.IntRange(min=1), default=10, show_default=True, help="Fills per mask.")
@click.option("--no-xla", is_flag=True, help="No XLA anywhere: runs on any server, without a flag; slower.")
@click.option("--length-buckets", type=Sizes(), help="Tokens per text that XLA compiles for, ascending.")
@click.option("--batch-buckets", type=Sizes(), help="Texts per program, ascending.")
@click.option("--mask-buckets", type=Sizes(), help="Masked positions per program, over all texts, ascending.")
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    help="Choose the buckets that are not given for the lengths of this file's texts, one a line; with "
    "--quantize, fit int8 to them.",
)
@click.option(
    "--programs",
    type=click.IntRange(min=5),
    help="With --calibrate: the most programs.  [default: as without]",
)
@click.option(
    "--quantize", type=click.Choice(["int8"]), help="Store matrices as int8, a quarter of the size."
)
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16"]),
    help="Store and multiply matrices as bfloat16, half of the size; fast with AVX512-BF16 or AMX.",
)
@click.option(
    "--arithmetic",
    type=click.Choice(["float", "int8", "bfloat16"]),
    help="With --quantize or --dtype: multiply floats, or what is stored, int8 on x86 only.  "
    "[default: what is stored, where it can be had]",
)
@click.option(
    "--tune",
    is_flag=True,
    help="Measure here which is fastest in each bucket: XLA, floats without it, or what is stored.",
)
@click.option(
    "--evaluate", multiple=True, help="With --quantize or --dtype: held-out text, to say what it costs."
)
@text_field_option
@click.option(
    "--long-texts",
    type=click.Choice(["refuse", "windows"]),
    default="refuse",
    show_default=True,
    help="Masks and embeddings beyond the longest bucket: refuse them, or read windows.",
)
@click.option("--max-bytes", type=click.IntRange(min=1), help="Bytes of text of a request.  [default: 4 MiB]")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Tokens of a request, texts times the longest one.  [default: 1048576]",
)
@click.option(
    "--max-copies",
    type=click.IntRange(min=1),
    help="Tokens that a request may have scored, each in a masked copy.  [default: 65536]",
)
@click.option("--max-values", type=click.IntRange(min=1), help="Numbers of an answer.  [default: 67108864]")
@click.option("--name", default="mlm", show_default=True, help="Model name in the warm-up records.")
@json_option
def command(
    model_dir: Path,
    base_path: Path,
    version: int | None,
    top_k: int,
    no_xla: bool,
    length_buckets: tuple[int, ...] | None,
    batch_buckets: tuple[int, ...] | None,
    mask_buckets: tuple[int, ...] | None,
    calibrate: Path | None,
    programs: int | None,
    quantize: str | None,
    dtype: str | None,
    arithmetic: str | None,
    tune: bool,
    evaluate: tuple[str, ...],
    text_field: str,
    long_texts: str,
    max_bytes: int | None,
    max_tokens: int | None,
    max_copies: int | None,
    max_values: int | None,
    name: str,
    as_json: bool,
) -> None:
    """Write MODEL_DIR as the next version under BASE_PATH: one SavedModel that takes raw strings.

    Example: tf-mlm export my-model models/mlm --length-buckets 16,32,64
    """
    from tf_mlm.version_directory import version_path

    stored = storage(quantize, dtype, arithmetic, evaluate)
    version_path(base_path, version)  # before TensorFlow is loaded: a version that exists is found at once
    given = {"length": length_buckets, "batch": batch_buckets, "masks": mask_buckets}
    most = {"bytes": max_bytes, "tokens": max_tokens, "copies": max_copies, "values": max_values}
    with console().status("Loading, tracing, writing and reading back ..."):
        import tf_mlm
        from tf_mlm.config import Limits
        from tf_mlm.export.description import read_description
        from tf_mlm.export.saved_model import export
        from tf_mlm.layers.int8_product import is_built_with_int8_product

        model = tf_mlm.load(model_dir)
        buckets = _buckets(model, given, calibrate, text_field, programs)
        accuracy: dict[str, Any] = {}
        if not stored:
            arithmetic = "float"
        else:
            can = stored != "int8" or is_built_with_int8_product()
            arithmetic = arithmetic or (stored if can else "float")
            model, accuracy = rounded(model, stored, arithmetic, calibrate, evaluate, text_field)
        path = export(
            model,
            base_path,
            version=version,
            buckets=buckets,
            top_k=top_k,
            xla=not no_xla,
            arithmetic=arithmetic,
            tune=tune,
            long_texts=long_texts,
            limits=Limits(**{name: value for name, value in most.items() if value is not None}),
            evaluation=_last_evaluation(model_dir),
            accuracy=accuracy,
            model_name=name,
        )
    description = read_description(path)
    if as_json:
        print_json({"path": str(path), **description})
    else:
        _show(path, description)


def _show(path: Path, description: dict[str, Any]) -> None:
    """What was written, what it needs, and what to do with it."""
    out = console()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    click.echo(f"Wrote {path} ({size / 1e6:.1f} MB), read it back and got the model's own answers.")
    if description["tuning"]:
        _print_tuning(description)
    elif description["arithmetic"] == "int8":
        has_twins = any(name.endswith(PORTABLE) for name in description["signatures"])
        out.print(
            "With int8 products: runs on any TF-Serving for x86, no flag needed"
            + ("; the `_portable` signatures, with floats, on any other, too." if has_twins else ".")
        )
    elif description["arithmetic"] == "bfloat16":
        out.print("With bfloat16 products: runs on any TF-Serving, no flag needed.")
    elif description["xla"]:
        out.print(
            f"With XLA: {description['programs']} programs, compiled while a server starts. Stock TF-Serving "
            "needs --xla_cpu_compilation_enabled=true, or use the `_portable` signatures."
        )
    else:
        out.print("Without XLA: runs on any TF-Serving, no flag needed.")
    if accuracy := description["accuracy"]:
        out.print(
            f"{description['weights']} beside float32 at {accuracy['masks']:,} masks: the same first token "
            f"at {accuracy['top_1_agreement']:.2%}, KL {accuracy['kl']:.1e} nats; loss "
            f"{accuracy['loss']:.4f} instead of {accuracy['float_loss']:.4f}, top-1 {accuracy['top_1']:.2%} "
            f"instead of {accuracy['float_top_1']:.2%}; pseudo-log-likelihood of {accuracy['pieces']} pieces "
            f"{accuracy['pll']:.2f} instead of {accuracy['float_pll']:.2f}, correlation of their ranks "
            f"{accuracy['pll_rank_correlation']:.4f}."
        )
    limit = description["max_length"]
    longer = "refused" if description["long_texts"] == "refuse" else "read in windows around them"
    out.print(f"Masks within the first {limit} tokens of a text; later ones are {longer}.")
    out.print(f"Next: tf-mlm serve {path.parent}")


def _buckets(
    model: MaskedLM,
    given: dict[str, tuple[int, ...] | None],
    calibrate: Path | None,
    text_field: str,
    programs: int | None,
) -> Buckets:
    """Those that are given, and for the others the best for a file of texts, or the default ones."""
    import dataclasses

    from tf_mlm.model.programs import compilations, default_buckets, length_limit

    chosen = default_buckets(length_limit(model))
    if calibrate is not None:
        chosen = _calibrated(model, calibrate, text_field, programs or compilations(chosen))
    return dataclasses.replace(chosen, **{name: sizes for name, sizes in given.items() if sizes is not None})


def _print_tuning(description: dict[str, Any]) -> None:
    """What each bucket took, and what it needs of a server."""
    from tf_mlm.cli.inspect import needs

    tuning = description["tuning"]
    names = list(next(iter(tuning.values()))["milliseconds"])
    found = table("fastest here, bucket by bucket", "bucket", *(f"{name}, ms" for name in names), "chosen")
    for bucket, times in tuning.items():
        found.add_row(bucket, *(f"{times['milliseconds'][name]:.2f}" for name in names), times["chosen"])
    console().print(found)
    click.echo(f"It is an {needs(description)}.")


def _calibrated(model: MaskedLM, path: Path, text_field: str, programs: int) -> Buckets:
    """Buckets for the texts in a file, one a line."""
    from tf_mlm.export.calibration import calibrate
    from tf_mlm.model.programs import length_limit
    from tf_mlm.reading.documents import read_texts
    from tf_mlm.reading.files import find_files
    from tf_mlm.text.preprocessor import TextPreprocessor

    lines = [
        text for file in find_files([path], once=True) for text in read_texts(file, text_field=text_field)
    ]
    if model.preprocessor is None or not lines:
        raise click.ClickException(
            f"Calibration needs a vocabulary and at least one line of text. Received: {len(lines)} lines in "
            f"`{path}`. Give a file with one typical request per line."
        )
    whole = TextPreprocessor(model.preprocessor.vocabulary, None, tokenizer=model.preprocessor.tokenizer)
    lengths: list[int] = []
    masks: list[int] = []
    for start in range(0, len(lines), 1000):
        inputs = whole(lines[start : start + 1000])
        lengths += inputs.lengths.numpy().tolist()
        masks += (inputs.mask_positions.numpy() >= 0).sum(-1).tolist()
    limit = length_limit(model)
    return calibrate(lengths, masks, model.config, programs=programs, limit=limit).buckets


def _last_evaluation(model_dir: Path) -> dict[str, Any]:
    """What the training run that wrote the model found at its end, if it left its log there."""
    from tf_mlm.training.run.log import read_log

    log = model_dir / "training" / "log.jsonl"
    found = [record for record in read_log(log) if record["event"] == "evaluation"]
    return (
        {key: value for key, value in found[-1].items() if key not in ("event", "fills", "seconds")}
        if found
        else {}
    )
