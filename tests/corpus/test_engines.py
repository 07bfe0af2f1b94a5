"""Engines: workers that die, a command line from end to end, and one that nobody answers."""

from __future__ import annotations

import functools
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.outputs import do, parts
from tf_mlm.corpus.engines import beam, local, ray
from tf_mlm.corpus.plan import Job
from tf_mlm.corpus.run_unit import Done
from tf_mlm.corpus.units import Unit
from tf_mlm.errors import ConfigError

Plan = Callable[..., Job]


@pytest.fixture
def python_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are processes of their own, and import this checkout."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])
    )


def echo(job: Job, index: int) -> Done:
    """A unit without a model, whose first worker dies where the job says so."""
    marker = Path(job.output, f"{index}.died")
    if index in job.options["die"] and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if index in job.options["always"]:
        os.kill(os.getpid(), signal.SIGKILL)
    Path(job.output, job.part(index)).write_text(str(index))
    return Done(index, rows=1)


@pytest.fixture
def empty_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python_path: None) -> Callable[..., Job]:
    """`empty_work(units, die=..., always=...)`: a job whose units are `echo`, without TensorFlow."""
    monkeypatch.setattr(local, "_serve", serve_echo)

    def made(units: int, **options: Any) -> Job:
        options = {"die": [], "always": [], "format": "jsonl", **options}
        return Job("score", "", "", options, [], [Unit("a.txt", "text", 0, 1, 1)] * units, str(tmp_path), "")

    return made


def serve_echo(pipe: Any, job: Job) -> None:
    while True:
        try:
            pipe.send(echo(job, pipe.recv()))
        except (EOFError, OSError):
            return


def test_units_whose_worker_died_are_done_again(empty_work: Callable[..., Job]) -> None:
    job = empty_work(12, die=[0, 3, 4, 11])
    found = list(local.run(job, range(12), 3))
    assert sorted(done.unit for done in found) == list(range(12))
    assert job.missing() == []


def test_a_unit_that_kills_its_workers_costs_only_itself(empty_work: Callable[..., Job]) -> None:
    job = empty_work(4, always=[2])
    found = {done.unit: done.error for done in local.run(job, range(4), 2)}
    assert [found[unit] for unit in (0, 1, 3)] == [None] * 3
    assert "5 workers died of `a.txt`, the last with exit code -9" in str(found[2])
    assert job.missing() == [2]


def test_no_worker_outlives_a_run_that_is_left(empty_work: Callable[..., Job]) -> None:
    import multiprocessing

    run = local.run(empty_work(50), range(50), 2)
    next(run)
    run.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_that_nobody_answers(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=f"Received: {address}, where nobody does.*ray start --head"):
        ray.check()


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["local", "ray", "beam"])
@pytest.mark.usefixtures("python_path")
def test_every_engine_gives_the_same_bytes(plan: Plan, files: Path, tmp_path: Path, runner: str) -> None:
    if runner == "ray":
        pytest.importorskip("ray")
    if runner == "beam":
        pytest.importorskip("apache_beam")
    job = plan(files / "*", unit_bytes=4000)
    engine = {"local": local, "ray": ray, "beam": beam}[runner]
    assert sum(done.rows for done in engine.run(job, range(len(job.units)), 2)) == 120
    do(plan(files / "*", unit_bytes=4000, output=tmp_path / "alone"))
    assert parts(tmp_path / "output") == parts(tmp_path / "alone")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`run(*arguments)` → exit code, standard output, standard error; units are done in this process."""
    from tf_mlm.cli import main
    from tf_mlm.corpus.run_unit import run_unit

    monkeypatch.setattr(local, "run", lambda job, units, workers: (run_unit(job, unit) for unit in units))

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def test_the_command_line(run: Callable[..., Any], model_dir: Path, files: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    corpus = ("--corpus", files / "a.txt", files / "b.jsonl", files / "*.parquet", "--output", output)
    code, out, err = run("score", model_dir, *corpus, "--unit-bytes", "4K")
    assert code == 0, err
    assert "failed rows" in out
    assert f"Wrote {output}." in out
    assert (output / "_SUCCESS").exists()
    code, out, err = run("score", model_dir, *corpus, "--unit-bytes", "4K", "--json")
    assert code == 0, err
    assert '"before": 5' in out
    code, _, err = run("score", model_dir, *corpus, "--unit-bytes", "5K")
    assert code == 1
    assert "`unit_bytes` was 4096 and is now 5120" in err
    assert len(err.splitlines()) == 1


def test_embed_without_a_corpus(
    run: Callable[..., Any], model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    import numpy as np

    from tf_mlm.target.open import open_target

    monkeypatch.setattr("tf_mlm.cli.embed.open_target", functools.cache(open_target))

    texts = ("the cat sat", "a dog ran fast")
    vectors = {}
    for pooling in ("mean", "first", "tokens"):
        code, out, err = run("embed", model_dir, *texts, "--pooling", pooling, "--normalize", "--json")
        assert code == 0, err
        vectors[pooling] = json.loads(out)
    assert [row["text"] for row in vectors["mean"]] == list(texts)
    for row in vectors["mean"] + vectors["first"]:
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-5)
    first, tokens = vectors["first"][1], vectors["tokens"][1]
    assert tokens["tokens"] == ["[CLS]", "a", "dog", "ran", "fast", "[SEP]"]
    np.testing.assert_allclose(tokens["embeddings"][0], first["embedding"], atol=1e-5)
    code, out, _ = run("embed", model_dir, *texts)
    assert code == 0
    assert "16 numbers" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["score", "MODEL", "a", "--output", "o"], 2, "--output belongs to --corpus"),
        (["score", "MODEL", "a", "--corpus", "FILES/a.txt", "--output", "o"], 2, "the text 'a' too"),
        (["fill", "MODEL", "--corpus", "FILES/a.txt"], 2, "--corpus needs --output"),
        (["fill", "MODEL"], 2, "Give at least one text"),
        (["embed", "MODEL", "--corpus", "FILES/none*", "--output", "o"], 1, "which matches nothing"),
        (["embed", "nowhere", "--corpus", "FILES/a.txt", "--output", "o"], 1, "A target must be"),
        (
            ["score", "MODEL", "--corpus", "FILES/b.jsonl", "--output", "o", "--text-field", "body"],
            1,
            "--text-field",
        ),
        (
            ["score", "MODEL", "--corpus", "FILES/a.txt", "--output", "o", "--shard", "3/3"],
            2,
            "from 0 to N - 1",
        ),
        (
            ["score", "MODEL", "--corpus", "FILES/a.txt", "--output", "o", "--unit-bytes", "x"],
            2,
            "such as 64M",
        ),
        (["tokenize", "MODEL", "text", "--length", "9"], 2, "--length is of shards"),
        (
            ["tokenize", "MODEL", "FILES/a.txt", "--to-tfrecord", "o", "--length", "16", "--held-out", "2"],
            1,
            "held_out",
        ),
    ],
)
def test_bad_input_is_one_line(
    run: Callable[..., Any],
    model_dir: Path,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [each.replace("MODEL", str(model_dir)).replace("FILES", str(files)) for each in arguments]
    found, _, err = run(*given)
    assert found == code
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "o" / "plan.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["score", "--method", "within-word-l2r"], "--method within-word-l2r needs a model directory"),
        (["embed", "--pooling", "first"], "--pooling first needs a model directory"),
        (["fill", "--top-k", "9"], "`top_k` must be at most 5"),
    ],
)
def test_a_model_that_cannot_answer_is_refused_before_the_first_unit(
    run: Callable[..., Any], plain_export: Path, files: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    verb, *more = options
    code, _, err = run(verb, plain_export, *more, "--corpus", files / "a.txt", "--output", tmp_path / "o")
    assert code == 1
    assert message in err
    assert not (tmp_path / "o").exists()
