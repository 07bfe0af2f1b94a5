"""A job from its first unit to `_SUCCESS`, whatever engine does the units."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tf_mlm.corpus.plan import Job, finish
from tf_mlm.corpus.run_unit import Done
from tf_mlm.errors import ConfigError

RUNNERS = ("local", "ray", "beam")


class Shard(NamedTuple):
    """One of several processes that share a job without an engine: it does every `of`-th unit."""

    number: int
    of: int


class Summary(NamedTuple):
    """What a run did.

    Attributes:
        output: the directory.
        units, before: how many there are, and how many of them were done before.
        rows, failed, tokens: those of this run.
        seconds: how long it took.
        finished: whether all units of the job are done; a shard may leave some to others.
    """

    output: str
    units: int
    before: int
    rows: int
    failed: int
    tokens: int
    seconds: float
    finished: bool


def run_job(
    job: Job,
    *,
    runner: str = "local",
    workers: int = 1,
    shard: Shard | None = None,
    watch: Callable[[Done], Any] = lambda done: None,
    **settings: Any,
) -> Summary:
    """Does the units that are missing.

    Args:
        job: from `make_job`.
        runner: one of `RUNNERS`.
        workers: how many units at a time, where the engine lets one choose.
        shard: only its units.
        watch: called with what became of each unit, as soon as it is known.
        settings: more that the engine takes.

    Raises:
        ConfigError: if a unit has no part in the end, after all others were done; the same job goes on from
            there. At once for a model that cannot be loaded, or an engine that cannot be reached.
    """
    engine = importlib.import_module(f"tf_mlm.corpus.engines.{runner}")
    begun, missing = time.monotonic(), job.missing()
    before = len(job.units) - len(missing)
    own = [index for index in missing if shard is None or index % shard.of == shard.number]
    rows = failed = tokens = 0
    errors: list[Done] = []
    for done in engine.run(job, own, workers, **settings) if own else ():
        if done.fatal:
            raise ConfigError(str(done.error))
        if done.error is not None:
            errors.append(done)
        rows, failed, tokens = rows + done.rows, failed + done.failed, tokens + done.tokens
        watch(done)
    left = job.missing()
    _check(job, errors, [index for index in left if index in set(own)])
    if not left:
        finish(job)
    seconds = time.monotonic() - begun
    return Summary(job.output, len(job.units), before, rows, failed, tokens, seconds, not left)


def _check(job: Job, errors: Sequence[Done], left: Sequence[int]) -> None:
    if errors:
        more = f" {len(errors) - 1} more units failed." if len(errors) > 1 else ""
        raise ConfigError(
            f"{errors[0].error}{more} What was finished is kept in `{job.output}`; the same command goes on "
            "from there."
        )
    if left:
        raise ConfigError(
            f"{len(left)} of {len(job.units)} units have no output in `{job.output}`. Every worker must see "
            "that directory; then the same command goes on."
        )
