"""Replicas and workers change nothing but the speed; devices that are not there are named."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tf_mlm.corpus.plan import make_job
from tf_mlm.corpus.run_unit import run_unit
from tf_mlm.errors import ConfigError
from tf_mlm.serving.server_process import free_ports
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.trainer import train
from tf_mlm.training.strategy import check_batch_size, is_chief, make_strategy, worker_index

GROWING = {"accumulation": 4, "batch_warmup": "2:10"}
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
MIRRORED = """
import json, sys
from tf_mlm.lean_import import import_tensorflow_alone
import_tensorflow_alone()
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.strategy import make_strategy
from tf_mlm.training.run.trainer import train
arguments = json.loads(sys.argv[1])
strategy = make_strategy("mirrored")
assert strategy.num_replicas_in_sync == 2
train(arguments["files"], arguments["output"], TrainConfig(**arguments["config"]), strategy=strategy)
"""


@pytest.fixture(scope="module")
def config(small: TrainConfig) -> TrainConfig:
    # Dropout differs from replica to replica, as it should.
    return dataclasses.replace(small, steps=20, dropout=0.0, checkpoint_every=20, layers=1)


@pytest.fixture(scope="module")
def one_process(corpus: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("one")
    train([corpus], output, config)
    return output


@pytest.fixture(scope="module")
def growing(corpus: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As one process does it with batches that grow."""
    output = tmp_path_factory.mktemp("growing")
    train([corpus], output, dataclasses.replace(config, **GROWING), compile=False)
    return output


def _largest_difference(first: Path, second: Path) -> float:
    ours, theirs = (safetensors.numpy.load_file(path / "model.safetensors") for path in (first, second))
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


@pytest.fixture(scope="module")
def shards(
    corpus: Path, config: TrainConfig, one_process: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """The corpus as packed rows, several shards for each worker."""
    output = tmp_path_factory.mktemp("shards")
    job = make_job(
        [str(corpus)],
        str(output),
        verb="tokenize",
        target=str(one_process),
        model="",
        options={
            "length": config.length,
            "held_out": config.held_out,
            "line_by_line": False,
            "text_field": "text",
            "id_field": "id",
            "unit_bytes": corpus.stat().st_size // 5 + 1,
        },
    )
    assert [run_unit(job, index).error for index in range(len(job.units))] == [None] * 5
    return [str(path) for path in sorted(output.glob("*.tfrecord"))]


def _arguments(
    files: Path | list[str],
    output: Path,
    config: TrainConfig,
    *,
    compile: bool = True,
    start: Path | None = None,
) -> dict[str, Any]:
    paths = files if isinstance(files, list) else [str(files)]
    settings = {"files": paths, "output": str(output), "config": dataclasses.asdict(config)}
    return {**settings, "compile": compile, "from_directory": start and str(start)}


def test_two_mirrored_devices_match_one(
    corpus: Path, config: TrainConfig, one_process: Path, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-c", MIRRORED, json.dumps(_arguments(corpus, tmp_path, config))],
        check=True,
        env=ENVIRONMENT,
    )
    assert _largest_difference(one_process, tmp_path) < 1e-5


def test_accumulation_matches_one_pass(
    corpus: Path, config: TrainConfig, one_process: Path, tmp_path: Path
) -> None:
    train([corpus], tmp_path, dataclasses.replace(config, accumulation=4), compile=False)
    assert _largest_difference(one_process, tmp_path) < 1e-5


WORKER = """
import functools, json, sys
from tf_mlm.lean_import import import_tensorflow_alone
import_tensorflow_alone()
from tf_mlm.errors import ConfigError
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run import open as opening
from tf_mlm.training.run.trainer import train
opening.make_strategy = functools.cache(opening.make_strategy)  # the workers meet once
for name, arguments in json.load(sys.stdin).items():
    config = TrainConfig(**arguments["config"])
    try:
        result = train(
            arguments["files"],
            arguments["output"],
            config,
            compile=arguments["compile"],
            from_directory=arguments["from_directory"],
        )
    except ConfigError as error:
        print(json.dumps({"case": name, "error": str(error)}), flush=True)
        ended = error
    else:
        print(json.dumps({"case": name, "steps": result.steps}), flush=True)
        ended = None
if ended is not None:
    raise ended
"""
BUDGETS = {
    "minutes": {"steps": None, "minutes": 0.05},
    "within": {"steps": 100_000, "within_minutes": 0.1, "evaluate_every": 100_000},
}


@dataclasses.dataclass(frozen=True)
class Workers:
    """What two workers made of all cases, which they ran one after the other.

    Attributes:
        output: holds a directory for each case.
        found: what each worker says of a case: its `steps`, or its `error`.
        codes: with which the processes ended.
        errors: what they wrote at last.
    """

    output: Path
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]]
    codes: tuple[int, ...]
    errors: tuple[str, ...]


def _cases(
    index: int, corpus: Path, shards: list[str], start: Path, output: Path, config: TrainConfig
) -> dict[str, dict[str, Any]]:
    """What a worker runs, by name; of the last case nothing is left but the error that ends it."""
    config = dataclasses.replace(config, strategy="multiworker")
    limited = {name: dataclasses.replace(config, evaluation_rows=8, **BUDGETS[name]) for name in BUDGETS}
    # Evaluations are no matter for a resume, but a worker that makes fewer of them waits for ever.
    other = dataclasses.replace(config, learning_rate=1e-4, evaluate_every=3)
    cases = {
        "same": dataclasses.replace(config, **GROWING),
        **limited,
        "within again": limited["within"],
        "disagreeing": other if index else config,
    }
    directories = dict.fromkeys(("within", "within again"), f"within-{index}")  # each has its own
    found = {
        case: _arguments(corpus, output / directories.get(case, case), config, compile=False)
        for case, config in cases.items()
    }
    few = dataclasses.replace(config, steps=4, checkpoint_every=2, evaluate_every=4)
    found["shards"] = _arguments(shards, output / "shards", few, compile=False, start=start)
    found["disagreeing"] = found.pop("disagreeing")  # which ends the process
    return found


@pytest.fixture(scope="module")
def workers(
    corpus: Path,
    shards: list[str],
    one_process: Path,
    config: TrainConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workers:
    output = tmp_path_factory.mktemp("workers")
    cases = [_cases(index, corpus, shards, one_process, output, config) for index in range(2)]
    results = _run_workers([json.dumps(own) for own in cases])
    found = [{line["case"]: line for line in map(json.loads, out.splitlines())} for _, out, _ in results]
    assert list(found[0]) == list(found[1]) == list(cases[0]), results
    return Workers(
        output,
        {case: (found[0][case], found[1][case]) for case in cases[0]},
        tuple(code for code, _, _ in results),
        tuple(err for _, _, err in results),
    )


def _run_workers(inputs: list[str]) -> list[tuple[int, str, str]]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(inputs))]
    workers = []
    for index in range(len(inputs)):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**ENVIRONMENT, "TF_CONFIG": cluster},
            )
        )
    with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:
        try:
            outputs = list(
                pool.map(lambda worker, given: worker.communicate(given, timeout=300), workers, inputs)
            )
        finally:
            for worker in workers:
                worker.kill()
    return [(worker.returncode, *output) for worker, output in zip(workers, outputs, strict=True)]


def test_two_workers_train_on_shards_of_their_own(one_process: Path, workers: Workers) -> None:
    assert [one.get("steps") for one in workers.found["shards"]] == [4, 4], workers.found["shards"]
    assert _largest_difference(workers.output / "shards", one_process) > 1e-4


def test_two_workers_match_one_process_while_batches_grow(growing: Path, workers: Workers) -> None:
    assert [one.get("steps") for one in workers.found["same"]] == [20, 20], workers.found["same"]
    assert _largest_difference(growing, workers.output / "same") < 1e-5


def test_workers_that_disagree_stop_before_the_first_step(workers: Workers) -> None:
    for one in workers.found["disagreeing"]:
        assert "They differ in evaluate_every, learning_rate. " in one["error"]
    assert not (workers.output / "disagreeing" / "training" / "checkpoints").exists()
    # It was their last case, and ended both.
    for code, error in zip(workers.codes, workers.errors, strict=True):
        assert code != 0
        assert "They differ in evaluate_every, learning_rate. " in error


def test_workers_that_do_not_share_the_checkpoints_stop(workers: Workers) -> None:
    for one in workers.found["within again"]:
        assert "They differ in first_step" in one["error"]
        assert "Put the output directory where all workers see it" in one["error"]


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_clock_of_the_first_worker_decides_how_many_steps_a_time_budget_allows(
    workers: Workers, budget: str
) -> None:
    steps = [one.get("steps") for one in workers.found[budget]]
    assert steps[0] == steps[1] > 0, workers.found[budget]


def test_cpu_is_one_device() -> None:
    strategy = make_strategy("cpu")
    assert strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)
    assert worker_index(strategy) is None


def test_no_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: [])
    with pytest.raises(ConfigError, match=r"none visible. Use --strategy cpu"):
        make_strategy("gpu")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "{",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {}, "task": {}}',
    ],
)
def test_a_bad_cluster_is_quoted(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(ConfigError, match="TF_CONFIG, which must look like"):
        make_strategy("multiworker")


def test_what_tensorflow_says_of_a_bad_cluster_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise tf.errors.InvalidArgumentError(None, None, 'Could not parse port from "nohost".')

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", refuse)
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["nohost", "other:1"]}, "task": task}))
    with pytest.raises(ConfigError, match=r"TF_CONFIG, which must look like.*parse port.*is free"):
        make_strategy("multiworker")
    assert caplog.messages == ["Waiting for the other workers of TF_CONFIG: other:1"]


def test_an_unknown_tpu_is_named_in_time() -> None:
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=r"tpu='grpc://127.0.0.1:1'.*Check the address"):
        make_strategy("tpu", tpu="grpc://127.0.0.1:1", tpu_seconds=5.0)
    with pytest.raises(
        ConfigError, match=r"tpu='no-such-tpu'.*gcloud compute tpus tpu-vm describe no-such-tpu"
    ):
        make_strategy("tpu", tpu="no-such-tpu", tpu_seconds=5.0)
    assert time.monotonic() - begun < 60
    with pytest.raises(ConfigError, match=r"tpu='local'.*TPU VM"):
        make_strategy("tpu", tpu="local", tpu_seconds=20.0)


def test_unknown_strategy() -> None:
    with pytest.raises(ConfigError, match="must be one of auto"):
        make_strategy("gpus")


def test_the_batch_must_divide() -> None:
    check_batch_size(make_strategy("cpu"), 6, 3)
    with pytest.raises(ConfigError, match="Use a multiple of 4"):
        check_batch_size(make_strategy("cpu"), 6, 4)
