"""Text to shards of packed rows, by one worker and by two; and the memory of training on many of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.contest import OURS, Outcome, Ratio
from benchmarks.page import demo_model
from tf_mlm.corpus.engines import local
from tf_mlm.corpus.plan import Job, make_job
from tf_mlm.corpus.tokenize import Tokenizing, fingerprint, preprocessor_of
from tf_mlm.text.packed_rows import read_description

ROOT = Path(__file__).parents[2]
COPIES, UNITS, LENGTH, HELD_OUT = 4, 24, 64, 0.05
SHARDS, SHARD_BYTES, STEPS = 1000, 10_000_000, 30


def outcomes(peers: bool) -> Iterator[Outcome]:
    """A row for the shards, and one for the memory; there are no peers."""
    folder = Path(tempfile.mkdtemp(prefix="shards-"))
    try:
        model, corpus = demo_model(folder), folder / "corpus.jsonl"
        yield _tokenized(folder, corpus, model)
        yield _trained_on(folder, corpus, model)
    finally:
        shutil.rmtree(folder)


def _tokenized(folder: Path, corpus: Path, model: Path) -> Outcome:
    """The documents of several copies of the corpus, from the moment that every worker has done two units."""
    text = folder / "text.jsonl"
    with text.open("wb") as stream:
        for _ in range(COPIES):
            stream.write(corpus.read_bytes())
    os.environ["PYTHONPATH"] = str(ROOT)
    times, rows = {}, 0
    for workers in (1, 2):
        job = _job(text, folder / f"out-{workers}", model, text.stat().st_size // UNITS + 1)
        counts = []
        for done in local.run(job, range(len(job.units)), workers):
            if done.error:
                raise RuntimeError(done.error)
            counts.append((done.rows, time.perf_counter()))
        rows = sum(count for count, _ in counts)
        warm = counts[2 * workers :]
        seconds = warm[-1][1] - counts[2 * workers - 1][1]
        times[f"{workers} worker{'s' * (workers > 1)}"] = 1e3 * seconds * rows / sum(n for n, _ in warm)
    one, two = times["1 worker"], times["2 workers"]
    found = {"1 worker": Ratio(*[one / two] * 3)}
    work = f"{rows:,} documents, {text.stat().st_size / 1e6:.0f} MB, to shards by 2 workers"
    return Outcome(work, {OURS: two, "1 worker": one}, found, 0.0, items=rows)


def _trained_on(folder: Path, corpus: Path, model: Path) -> Outcome:
    """Peak memory of `tf-mlm train`, on one shard and on all."""
    one = _shard(folder, corpus, model)
    megabytes = {}
    for count in (1, SHARDS):
        shards = folder / f"{count}-shards"
        shards.mkdir()
        paths = [path for unit in range(count) for path in _as_unit(one, unit, count, shards)]
        megabytes[f"{count:,} of them"] = _peak_of_training(paths, folder / f"trained-{count}", model)
        shutil.rmtree(shards)
    size = one[0].stat().st_size / 1e6
    return Outcome(f"training on shards of {size:.1f} MB: peak memory", megabytes, {}, 0.0, unit="MB")


def _shard(folder: Path, corpus: Path, model: Path) -> list[Path]:
    """A real shard of about `SHARD_BYTES`, and what is held out beside it."""
    text = folder / "shard.jsonl"
    with text.open("wb") as stream:
        while stream.tell() < 2 * SHARD_BYTES:  # a token of two bytes stands for some four of text
            stream.write(corpus.read_bytes())
    job = _job(text, folder / "shard", model, 2 * SHARD_BYTES)
    Tokenizing(preprocessor_of(str(model)))(job, 0)
    held_out, train = job.parts(0)
    return [folder / "shard" / train, folder / "shard" / held_out]


def _as_unit(shard: Sequence[Path], unit: int, units: int, directory: Path) -> Iterator[Path]:
    """Copies that say of themselves that they are one unit of so many."""
    for path in shard:
        found = read_description(path)
        assert found is not None
        record = next(iter(tf.data.TFRecordDataset(str(path)).take(1))).numpy()
        example = tf.train.Example.FromString(record)
        facts = {**found.facts, "unit": unit, "units": units}
        described = example.features.feature["tf_mlm_rows"].bytes_list
        described.value[0] = json.dumps(facts, sort_keys=True).encode()
        copy = directory / f"{unit:05d}-{path.name}"
        with tf.io.TFRecordWriter(str(copy)) as writer:
            writer.write(example.SerializeToString(deterministic=True))
        with copy.open("ab") as stream, path.open("rb") as rows:
            rows.seek(found.first)
            shutil.copyfileobj(rows, stream, 1 << 20)
        yield copy


def _peak_of_training(shards: Sequence[Path], output: Path, model: Path) -> float:
    """Megabytes that the process had in memory at most."""
    options = ["--output", str(output), "--from", str(model), "--steps", str(STEPS), "--length", str(LENGTH)]
    options += ["--held-out", str(HELD_OUT), "--evaluate-every", str(STEPS)]
    command = [sys.executable, "-m", "tf_mlm", "train", *map(str, shards), *options]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            raise RuntimeError(said.read().decode("utf-8", "replace")[-2000:])
    return usage.ru_maxrss / 1e3


def _job(text: Path, output: Path, model: Path, unit_bytes: int) -> Job:
    options: dict[str, Any] = {"length": LENGTH, "held_out": HELD_OUT, "line_by_line": False}
    options |= {"text_field": "text", "id_field": "id", "unit_bytes": unit_bytes}
    return make_job(
        [str(text)],
        str(output),
        verb="tokenize",
        target=str(model),
        model=fingerprint(preprocessor_of(str(model))),
        options=options,
    )
