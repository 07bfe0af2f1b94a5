"""`tf-mlm train`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tf_mlm.cli.console import console, json_option, print_json
from tf_mlm.cli.verb import TensorFlowVerb
from tf_mlm.config import TokenizerConfig
from tf_mlm.config.architectures import ARCHITECTURES
from tf_mlm.config.architectures import cased as keeping_case
from tf_mlm.training.options import DEFAULT_ARCHITECTURE, TrainConfig
from tf_mlm.training.recipes import defaults_of

# On the command line some settings go by shorter names.
_SHORT = {"vocabulary_size": "vocab-size"}


class CourseOption(click.ParamType):
    """A number, or two as in 0.3:0.15."""

    name = "number[:number]"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The number, or the text, which `TrainConfig` checks."""
        try:
            return float(value)
        except ValueError:
            return value


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option per field of `TrainConfig`, with its help text; only those given reach the verb."""
    for field in reversed(dataclasses.fields(TrainConfig)):
        kinds = {"int": int, "float": float, "str": str, "bool": bool, "float | str": CourseOption()}
        kind: Any = kinds[str(field.type).removesuffix(" | None")]
        choices = field.metadata["choices"]
        name = _SHORT.get(field.name, field.name.replace("_", "-"))
        defaults = {name: str(value) for name, value in defaults_of(field.name).items()}
        shown = ", ".join(value if name == "bert" else f"{name} {value}" for name, value in defaults.items())
        shown = shown or ("" if field.default is None else str(field.default))
        shown = shown and f"  [default: {shown}]"
        flag = f"--{name}/--no-{name}" if str(field.type) == "bool | None" else f"--{name}"
        function = click.option(
            flag,
            field.name,
            type=click.Choice(choices) if choices else kind,
            is_flag=kind is bool,
            default=None,
            help=field.metadata["help"] + shown,
        )(function)
    return function


def config_of(settings: dict[str, Any], **defaults: Any) -> TrainConfig:
    """The `TrainConfig` of the options that were given, over `defaults`."""
    return TrainConfig(**{**defaults, **{key: value for key, value in settings.items() if value is not None}})


@click.command("train", cls=TensorFlowVerb)
@click.argument("files", nargs=-1, required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Model directory to write.")
@click.option(
    "--from", "from_directory", type=click.Path(path_type=Path), help="Model directory to continue."
)
@click.option(
    "--decay-from",
    type=click.Path(path_type=Path),
    help="Checkpoint of another run, or its output, to decay within --steps more (--schedule wsd).",
)
@click.option(
    "--vocab",
    type=click.Path(path_type=Path),
    help="vocab.txt of a new model, or a directory with a tokenizer.json; else it is learnt.",
)
@click.option("--cased", is_flag=True, help="A learnt vocabulary keeps upper case and accents.")
@click.option("--fresh", is_flag=True, help="Forget an unfinished run in OUTPUT instead of resuming it.")
@training_options
@json_option
def command(
    files: tuple[str, ...],
    output: Path,
    from_directory: Path | None,
    decay_from: Path | None,
    vocab: Path | None,
    cased: bool,
    fresh: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Pretrain a model on FILES (text, .gz, .jsonl, .tfrecord; globs), or adapt one with --from.

    The same command again resumes a run that was stopped.

    Example: tf-mlm train docs/*.txt --output my-model --steps 2000 --length 64
    """
    new = {name: settings[name] for name in ("vocabulary_size", "hidden_size", "layers", "heads")}
    given = [_SHORT.get(name, name.replace("_", "-")) for name, value in new.items() if value is not None]
    given += ["vocab"] * (vocab is not None) + ["cased"] * cased
    if from_directory and given:
        raise click.UsageError(
            f"--from keeps the vocabulary and the sizes of `{from_directory}`. Received also: "
            f"{', '.join(f'--{name}' for name in given)}. Leave these out, or leave out --from."
        )
    config = config_of(settings)
    from tf_mlm.training.run.trainer import train

    result = train(
        files,
        output,
        config,
        from_directory=from_directory,
        decay_from=decay_from,
        vocabulary=vocab,
        tokenizer_config=_cased(config) if cased else None,
        console=None if as_json else console(),
        fresh=fresh,
    )
    if as_json:
        print_json(
            {**dataclasses.asdict(result), "directory": str(result.directory), "finished": result.finished}
        )
    elif result.finished:
        click.echo(f"Wrote {output}. Next: tf-mlm export {output} models/mlm")
    else:
        click.echo("Stopped and saved; the same command continues.")


def _cased(config: TrainConfig) -> TokenizerConfig:
    """How a new model reads text whose case it keeps."""
    return keeping_case(ARCHITECTURES[config.architecture or DEFAULT_ARCHITECTURE].tokenizer)
