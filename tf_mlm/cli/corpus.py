"""Verbs over a corpus: the options that turn a verb into a job, its progress and its summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tf_mlm.cli.console import console, print_json, table
from tf_mlm.cli.verb import TensorFlowVerb

if TYPE_CHECKING:
    from tf_mlm.corpus.plan import Job
    from tf_mlm.corpus.run import Shard
    from tf_mlm.corpus.run_unit import Done

_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
UNIT_BYTES = "64M"


class Bytes(click.ParamType):
    """A number of bytes such as 64M."""

    name = "BYTES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(value)
        if not found or not int(found[1]):
            self.fail(f"{value!r} is not a number of bytes such as 64M.", param, ctx)
        return int(found[1]) << 10 * " KMGT".index(found[2].upper() or " ")


class ShardType(click.ParamType):
    """One of several processes, as I/N with I from 0."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        from tf_mlm.corpus.run import Shard

        if isinstance(value, Shard):
            return value
        found = re.fullmatch(r"(\d+)/(\d+)", value)
        if not found or int(found[1]) >= int(found[2]):
            self.fail(f"{value!r} must be I/N with I from 0 to N - 1, such as 0/8.", param, ctx)
        return Shard(int(found[1]), int(found[2]))


class CorpusVerb(TensorFlowVerb):
    """Lets --corpus take several files, as a shell's globs give them: up to the next option."""

    option = "--corpus"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        of_corpus = False
        for index, argument in enumerate(args):
            if argument == "--":
                spread += args[index:]
                break
            if argument.startswith("-") and argument != "-":
                of_corpus = argument == self.option
            elif of_corpus and args[index - 1] != self.option:
                spread.append(self.option)
            spread.append(argument)
        return super().parse_args(ctx, spread)


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Who does the units of a job."""
    for option in reversed(
        (
            click.option(
                "--runner",
                type=click.Choice(("local", "ray", "beam")),
                default="local",
                show_default=True,
                help="Processes of this machine; Ray (RAY_ADDRESS names a cluster); or Apache Beam.",
            ),
            click.option(
                "--workers", type=click.IntRange(min=1), help="Units at a time.  [default: the cores]"
            ),
            click.option(
                "--unit-bytes", type=Bytes(), default=UNIT_BYTES, show_default=True, help="Size of a unit."
            ),
            click.option(
                "--shard", type=ShardType(), help="Do a share of the units, beside N - 1 other processes."
            ),
            click.option(
                "--beam-options", default="", help="For Beam's own runner, such as '--runner=FlinkRunner'."
            ),
        )
    ):
        function = option(function)
    return function


def corpus_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What makes a verb a job over a corpus."""
    for option in reversed(
        (
            click.option(
                "--corpus",
                multiple=True,
                help="Files of text, JSON lines, gzip, Parquet or TFRecords; globs and addresses (s3://...).",
            ),
            click.option("--output", help="With --corpus: the directory to write, or its address."),
            click.option(
                "--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Rows per request."
            ),
            click.option("--id-field", default="id", show_default=True, help="The field of a row's own id."),
            click.option(
                "--format",
                "kind",
                type=click.Choice(("jsonl", "parquet")),
                default="jsonl",
                show_default=True,
                help="Of the output.",
            ),
        )
    ):
        function = option(function)
    return engine_options(function)


def refuse_settings(settings: Mapping[str, Any], wanted: str = "--corpus") -> None:
    """Without files there is no job, so nothing that describes one may be given."""
    if given := [name for name in ("output", "shard", "workers", "beam_options") if settings.get(name)]:
        raise click.UsageError(f"--{given[0].replace('_', '-')} belongs to {wanted}. Name files with it.")


def run_corpus(
    verb: str, target: str, settings: Mapping[str, Any], options: Mapping[str, Any], *, as_json: bool
) -> None:
    """Runs a verb over a corpus.

    Args:
        verb: which.
        target: what answers.
        settings: those of `corpus_options`.
        options: those of the verb.
        as_json: print the summary as JSON, and no progress.
    """
    from tf_mlm.corpus.model import fixed_target
    from tf_mlm.corpus.plan import make_job

    if not settings["output"]:
        raise click.UsageError("--corpus needs --output, the directory to write.")
    more = {
        "batch": settings["batch"],
        "format": settings["kind"],
        "text_field": settings["text_field"],
        "id_field": settings["id_field"],
        "unit_bytes": settings["unit_bytes"],
    }
    if settings["kind"] == "parquet":
        from tf_mlm.corpus.units import import_parquet

        import_parquet()
    check_engine(settings)
    target, model = fixed_target(target, verb, options)
    job = make_job(
        settings["corpus"],
        settings["output"],
        verb=verb,
        target=target,
        model=model,
        options={**options, **more},
    )
    do_job(job, settings, as_json=as_json)


def check_engine(settings: Mapping[str, Any]) -> None:
    """Whether the engine is there, before anything is planned."""
    import importlib

    if settings["beam_options"] and settings["runner"] != "beam":
        raise click.UsageError(
            f"--beam-options needs --runner beam. Received: --runner {settings['runner']}."
        )
    engine = importlib.import_module(f"tf_mlm.corpus.engines.{settings['runner']}")
    getattr(engine, "check", lambda: None)()


def do_job(job: Job, settings: Mapping[str, Any], *, as_json: bool) -> None:
    """Does what is missing of a job, with a progress bar, and prints a summary."""
    from tf_mlm.corpus.engines.local import cores
    from tf_mlm.corpus.run import run_job

    more = {"options": settings["beam_options"]} if settings["runner"] == "beam" else {}
    workers = settings["workers"] or cores()
    with Watch(job, hidden=as_json) as watch:
        found = run_job(
            job, runner=settings["runner"], workers=workers, shard=settings["shard"], watch=watch, **more
        )
    if as_json:
        print_json(found._asdict())
        return
    rows = table(None, "", "", right=("",))
    seconds = max(found.seconds, 1e-9)
    for name, value in (
        ("units", f"{found.units:,}" + f", {found.before:,} of them done before" * bool(found.before)),
        ("rows", f"{found.rows:,}"),
        ("failed rows", f"{found.failed:,}"),
        ("rows/s", f"{found.rows / seconds:,.1f}"),
        *((("tokens/s", f"{found.tokens / seconds:,.0f}"),) if found.tokens else ()),
        ("seconds", f"{found.seconds:,.1f}"),
    ):
        rows.add_row(name, value)
    console().print(rows)
    click.echo(
        f"Wrote {found.output}."
        if found.finished
        else f"Wrote a share of {found.output}; others are missing."
    )


class Watch:
    """A progress bar over the bytes of a job, with rows, failed rows, tokens a second and the time left."""

    def __init__(self, job: Job, *, hidden: bool) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        missing = set(job.missing())
        self._sizes = {index: job.units[index].size for index in missing}
        self._rows = self._failed = self._tokens = 0
        self._progress = Progress(
            "{task.description}",
            BarColumn(),
            "{task.percentage:>3.0f}%",
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            disable=hidden,
            transient=True,
        )
        self._task = self._progress.add_task(job.verb, total=sum(self._sizes.values()), said="")

    def __call__(self, done: Done) -> None:
        self._rows, self._failed = self._rows + done.rows, self._failed + done.failed
        self._tokens += done.tokens
        seconds = max(self._progress.tasks[0].elapsed or 0.0, 1e-9)
        said = f"{self._rows:,} rows, {self._failed:,} failed, {self._tokens / seconds:,.0f} tokens/s"
        self._progress.update(self._task, advance=self._sizes.get(done.unit, 0), said=said)

    def __enter__(self) -> Watch:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
