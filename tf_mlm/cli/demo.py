"""`tf-mlm demo`: the whole path in one command."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import random
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tf_mlm.cli.console import console, table
from tf_mlm.cli.fill import fill_table
from tf_mlm.cli.verb import TensorFlowVerb
from tf_mlm.serving.errors import ServingError
from tf_mlm.serving.server_process import ServerProcess
from tf_mlm.training.options import TrainConfig

if TYPE_CHECKING:
    from rich.console import Console

    from tf_mlm.model.fill_mask import FillMask

QUESTIONS = (
    "Return the [MASK] of the array.",
    "If the [MASK] is not found, a KeyError is raised.",
    "Compute the [MASK] between labels and predictions.",
    "This [MASK] returns a [MASK] object.",
)
SENTENCES = 200
SMALL: Mapping[str, Any] = {
    "vocabulary_size": 4000,
    "hidden_size": 192,
    "heads": 4,
    "dropout": 0.0,
    "learning_rate": 2e-3,
    "warmup": 0.1,
}
"""Sizes and rate of an encoder that learns something in minutes on two cores, whatever its family."""
SMALL_MODERNBERT: Mapping[str, Any] = {
    **SMALL,
    "architecture": "modernbert",
    "layers": 3,
    "length": 128,
    "mask_rate": "0.3:0.15",
}
"""What learns most in that time: `tools/benchmark recipes` compares it with BERT's way."""


@click.command("demo", cls=TensorFlowVerb)
@click.option("--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option(
    "--until-top-1",
    type=float,
    help="Stop training before, once this share of held-out tokens is guessed at first.",
)
@click.option("--minutes", type=float, default=7, show_default=True, help="Train for so long.")
@click.option("--keep-serving", is_flag=True, help="Leave the server running at the end.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results there.")
def command(
    output: Path, until_top_1: float | None, minutes: float, keep_serving: bool, json_file: Path | None
) -> None:
    """Train on Python's own documentation, export, serve, and ask in Python, over gRPC and over REST.

    Example: tf-mlm demo --minutes 1
    """
    config = dataclasses.replace(recipe(), minutes=minutes, within_minutes=minutes, until_top_1=until_top_1)
    out = console()
    begun = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {"seconds": seconds}
    step = functools.partial(_step, out, seconds)
    with step("corpus", "1. Text: the documentation inside this Python installation"):
        from tf_mlm.training.data.documentation import write_documentation_corpus

        corpus = output / "corpus.jsonl"
        words = write_documentation_corpus(corpus)
        out.print(f"{words:,} words in {corpus}; one document in twenty is held out.")
    with step("train", f"2. Train for {minutes:g} minutes"):
        model_dir = output / "model"
        results |= _train(corpus, model_dir, config, out)
    with step("export", "3. Export: one SavedModel that takes raw strings"):
        import tf_mlm
        from tf_mlm.config import Buckets
        from tf_mlm.export.description import read_description
        from tf_mlm.export.saved_model import export

        model = tf_mlm.load(model_dir)
        longest = model.config.max_length
        buckets = Buckets(batch=(1, 8, 32), length=(longest // 2, longest), masks=(1, 8, 64))
        version = export(model, output / "models" / "mlm", buckets=buckets, evaluation=results["evaluation"])
        programs = read_description(version)["programs"]
        out.print(f"Wrote {version}, read it back and got the model's own answers.")
    with contextlib.ExitStack() as stack:
        with step("serve", f"4. Serve: compile {programs} programs, then open the ports"):
            log = output / "server.log"
            server = start_server(version.parent, log)
            stack.callback(stop, server, log)
            wait_for(server, log)
            grpc = f"grpc://127.0.0.1:{server.grpc_port}/mlm"
            rest = f"http://127.0.0.1:{server.rest_port}/mlm"
            out.print(f"gRPC {grpc}   REST {rest}   log {log}")
        with step("ask", "5. Ask: in Python, over gRPC, over REST"):
            results |= ask(tf_mlm.FillMask(model), {"grpc": grpc, "rest": rest}, corpus, out)
        if keep_serving:
            stack.pop_all()
    results["seconds"]["total"] = round(time.monotonic() - begun, 1)
    results["paths"] = {"model": str(model_dir), "export": str(version), "corpus": str(corpus)}
    show(results, config, out)
    if json_file:
        json_file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    out.print('\nAsk more: [bold]tf-mlm fill demo/model "Raises a \\[MASK] if the file exists."[/]')
    out.print(f"Look at it: [bold]tf-mlm page {rest if keep_serving else model_dir}[/]")
    if keep_serving:
        out.print(f'Still serving: tf-mlm fill {grpc} "..."; stop it with: kill {server.popen.pid}')
    else:
        out.print(f"Serve again: [bold]tf-mlm serve {version.parent}[/]")


@contextlib.contextmanager
def _step(out: Console, seconds: dict[str, float], name: str, title: str) -> Iterator[None]:
    """Says what begins, and keeps how long it took."""
    out.rule(f"[bold]{title}", align="left")
    started = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - started, 1)


def _train(corpus: Path, model_dir: Path, config: TrainConfig, out: Console) -> dict[str, Any]:
    """What ended the training, its steps and its last evaluation."""
    from tf_mlm.training.run.trainer import train

    trained = train([corpus], model_dir, config, console=out, fresh=True)
    if not trained.finished:
        raise click.Abort
    found = trained.evaluation
    assert found is not None
    evaluation = {**dataclasses.asdict(found), "lift": found.lift}
    return {"ended": trained.ended, "steps": trained.steps, "evaluation": evaluation}


def ask(fill_mask: FillMask, addresses: dict[str, str], corpus: Path, out: Console) -> dict[str, Any]:
    """The answers of Python and of each address, how much they differ, and what the server makes of order."""
    from tf_mlm.serving.client.client import Client

    answers: dict[str, Any] = {"python": fill_mask(QUESTIONS)}
    for name, address in addresses.items():
        with Client(address) as client:
            answers[name] = client.fill(list(QUESTIONS))
    for question, fills in zip(QUESTIONS, answers["grpc"], strict=True):
        out.print(fill_table(question, fills))
    with Client(addresses["grpc"]) as client:
        order = word_order(client, corpus)
    return {"fills": answers, "largest_difference": largest_difference(answers), "word_order": order}


def show(results: dict[str, Any], config: TrainConfig, out: Any) -> None:
    """The table at the end."""
    held_out, order = results["evaluation"], results["word_order"]
    seconds, paths = results["seconds"], results["paths"]
    ended = "the target" if results["ended"] == "target" else f"{config.minutes:g} minutes"
    out.rule("[bold]Results", align="left")
    summary = table(None, "", "", right=("",))
    summary.show_header = False
    for name, value in (
        ("held-out top-1", f"{held_out['top_1']:.1%}"),
        ("  the most frequent token would reach", f"{held_out['most_frequent']:.1%}"),
        ("  that is better by a factor of", f"{held_out['lift']:.2f}"),
        ("held-out top-5", f"{held_out['top_5']:.1%}"),
        ("training ended at", f"{ended} (step {results['steps']:,})"),
        ("largest difference between them", f"{results['largest_difference']:.1e}"),
        ("sentences that beat their shuffled words", f"{order['better']} of {order['sentences']}"),
        ("time, training alone / all", f"{seconds['train']:.0f} s / {seconds['total']:.0f} s"),
        ("model directory, as Hugging Face's", paths["model"]),
        ("export, for TF-Serving", paths["export"]),
        ("training curve", str(Path(paths["model"]) / "training" / "curve.png")),
    ):
        summary.add_row(name, value)
    out.print(summary)


def recipe() -> TrainConfig:
    """A small encoder that learns something in minutes on two cores; how long it trains is to be said."""
    return TrainConfig(**SMALL_MODERNBERT, batch_size=16, evaluate_every=200)


def start_server(base_path: Path, log: Path) -> ServerProcess:
    """`tf-mlm serve` in a process of its own, as a user would start it."""
    command = [sys.executable, "-m", "tf_mlm", "serve", str(base_path)]
    return ServerProcess(command, [], log, port_flags=("--port", "--rest-port"), outlives=True)


def wait_for(server: ServerProcess, log: Path) -> None:
    """Until the model answers."""
    try:
        server.wait()
    except ServingError as error:
        raise click.ClickException(f"{error.message.splitlines()[-1]}. Its log is {log}.") from error


def stop(server: ServerProcess, log: Path) -> None:
    """Once the requests in flight are answered."""
    if code := server.stop():
        raise click.ClickException(f"The server stopped with exit code {code}. Its log is {log}.")


def largest_difference(answers: dict[str, Any]) -> float:
    """The largest difference of scores between ways of asking; infinite when the tokens differ."""

    def flat(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            yield value
        else:
            for item in value:
                yield from flat(item)

    first, *others = (list(flat(each)) for each in answers.values())
    worst = 0.0
    for other in others:
        for one, two in zip(first, other, strict=True):
            same = one["token"] == two["token"] and one["sequence"] == two["sequence"]
            worst = max(worst, abs(one["score"] - two["score"]) if same else float("inf"))
    return worst


def word_order(client: Any, corpus: Path) -> dict[str, int]:
    """How many held-out sentences score higher than the same words in random order."""
    from tf_mlm.reading.documents import read_documents
    from tf_mlm.training.data.split import is_held_out

    chance = random.Random(0)
    sentences: list[str] = []
    for document in read_documents([corpus]):
        if not is_held_out(document, recipe().held_out):
            continue
        for sentence in re.split(r"(?<=[.!?])\s+", document):
            words = sentence.split()
            if 8 <= len(words) <= 24 and re.fullmatch(r"[A-Z][\w\s,'-]+[.]", " ".join(words)):
                sentences.append(" ".join(words))
    chance.shuffle(sentences)
    sentences = sentences[:SENTENCES]
    shuffled = []
    for sentence in sentences:
        words = sentence.split()
        while " ".join(words) == sentence:
            chance.shuffle(words)
        shuffled.append(" ".join(words))
    better = 0
    for start in range(0, len(sentences), 20):
        ordered, mixed = (client.score(texts[start : start + 20])["score"] for texts in (sentences, shuffled))
        better += int((ordered > mixed).sum())
    return {"sentences": len(sentences), "better": better}
