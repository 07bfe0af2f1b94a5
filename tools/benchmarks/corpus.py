"""A file filled by two local workers, beside the best loop in one process; and what plan and commits cost."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.contest import OURS, DisagreementError, Outcome, Ratio
from benchmarks.text_lines import bert_base, sentences, with_a_mask
from tf_mlm.corpus.answers import Answer, fills
from tf_mlm.corpus.engines import local
from tf_mlm.corpus.plan import Job, finish, make_job
from tf_mlm.corpus.run_unit import Asking
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.target.open import open_target

ROWS, UNITS, BATCH, WORKERS, TOP = 1536, 24, 32, 2, 5
TOLERANCE = 1e-4
"""Of probabilities."""
ROOT = Path(__file__).parents[2]
MOST_PLANNED = 10_000_000


def outcomes(peers: bool) -> Iterator[Outcome]:
    """One row for the file, and two for work without a model, of which one is ten times the other."""
    folder = Path(tempfile.mkdtemp(prefix="corpus-"))
    try:
        yield _filled(folder, peers)
        for rows in (MOST_PLANNED // 10, MOST_PLANNED):
            yield _overhead(folder / str(rows), rows)
    finally:
        shutil.rmtree(folder)


def _filled(folder: Path, peers: bool) -> Outcome:
    """The time of the whole file at the speed that each contender has once it has started."""
    model = bert_base()
    save(model, folder / "model")
    lines = with_a_mask(sentences(ROWS, most=40), "[MASK]")
    milliseconds, answers = {OURS: _workers(folder, lines)}, {OURS: _best_scores(folder, lines)}
    client = open_target(str(folder / "model"), TOP)

    def loop(part: list[str]) -> list[float]:
        return [
            answer.fields["fills"][0][0]["score"] for answer in fills(client, part, top_k=TOP, targets=None)
        ]

    name = "one process, best loop"
    milliseconds[name], answers[name] = _timed(loop, sorted(lines, key=len))
    if peers:
        from benchmarks.hugging_face_peer import HuggingFacePeer

        peer = HuggingFacePeer(folder / "model")
        for size in (1, BATCH):
            name = f"transformers' pipeline, batches of {size}"
            ask = functools.partial(_pipeline_scores, peer.pipeline(size, TOP))
            milliseconds[name], answers[name] = _timed(ask, lines[: ROWS // 8])
    difference = max(
        abs(score - answers[OURS][line]) for other in answers.values() for line, score in other.items()
    )
    if not difference <= TOLERANCE:
        raise DisagreementError(
            f"All contenders must give the same scores. Received: {difference:.1e} between."
        )
    ratios = {
        name: Ratio(*[time / milliseconds[OURS]] * 3) for name, time in milliseconds.items() if name != OURS
    }
    return Outcome(f"fill {ROWS} lines, {WORKERS} workers", milliseconds, ratios, difference, items=ROWS)


def _workers(folder: Path, lines: list[str]) -> float:
    """From the moment that all workers have done a unit to the end."""
    text = folder / "lines.txt"
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = _job(text, folder / "out", folder / "model", text.stat().st_size // UNITS + 1)
    os.environ["PYTHONPATH"] = str(ROOT)
    begun, rows = 0.0, 0
    for seen, done in enumerate(local.run(job, range(len(job.units)), WORKERS), 1):
        if done.error:
            raise RuntimeError(done.error)
        if seen > 2 * WORKERS:
            rows += done.rows
        elif seen == 2 * WORKERS:
            begun = time.perf_counter()
    return 1e3 * (time.perf_counter() - begun) * ROWS / rows


def _best_scores(folder: Path, lines: list[str]) -> dict[str, float]:
    """Line to the score of its likeliest token, out of what the workers wrote."""
    parts = [path.read_text("utf-8") for path in sorted((folder / "out").glob("part-*"))]
    rows = [json.loads(row) for part in parts for row in part.splitlines()]
    return {line: row["fills"][0][0]["score"] for line, row in zip(lines, rows, strict=True)}


def _pipeline_scores(pipeline: Any, lines: list[str]) -> list[float]:
    return [found[0]["score"] for found in pipeline(lines)]


def _timed(ask: Callable[[list[str]], list[float]], lines: list[str]) -> tuple[float, dict[str, float]]:
    """Milliseconds for all rows, at the speed of these once each length has been met; and their scores."""
    parts = [lines[start : start + BATCH] for start in range(0, len(lines), BATCH)]
    for part in parts[:: max(1, len(parts) // 4)]:
        ask(part)
    begun = time.perf_counter()
    scores = [score for part in parts for score in ask(part)]
    milliseconds = 1e3 * (time.perf_counter() - begun) * ROWS / len(lines)
    return milliseconds, dict(zip(lines, scores, strict=True))


def _overhead(folder: Path, rows: int) -> Outcome:
    """Planning, reading, writing and committing rows that nothing is computed of."""
    folder.mkdir()
    text = folder / "rows.txt"
    text.write_bytes(b"a row\n" * rows)
    begun = time.perf_counter()
    job = _job(text, folder / "out", folder, 1 << 20)
    planned = time.perf_counter()
    worker = Asking(lambda texts: [Answer({}, 0)] * len(texts))
    for index in range(len(job.units)):
        worker(job, index)
    finish(job)
    ended = time.perf_counter()
    shutil.rmtree(folder)
    times = {OURS: 1e3 * (ended - begun), "of it the plan": 1e3 * (planned - begun)}
    ratio = times["of it the plan"] / times[OURS]
    found = {"of it the plan": Ratio(ratio, ratio, ratio)}
    return Outcome(f"{rows:,} rows without a model, {len(job.units)} units", times, found, 0.0, items=rows)


def _job(text: Path, output: Path, model: Path, unit_bytes: int) -> Job:
    options: dict[str, Any] = {"top_k": TOP, "targets": None, "batch": BATCH, "format": "jsonl"}
    options |= {"text_field": "text", "id_field": "id", "unit_bytes": unit_bytes}
    return make_job([str(text)], str(output), verb="fill", target=str(model), model="", options=options)
