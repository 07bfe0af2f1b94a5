"""Processes of this machine, a model each, each on one core: the default.

A worker that dies is started again, and its unit is done again; the others go on. One whose parent dies ends
after the unit it is at.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait

from tf_mlm.corpus.plan import Job
from tf_mlm.corpus.run_unit import Done

MOST_DEATHS = 5
"""A unit whose worker died so often is left: it is the unit, as a rule one that needs more memory."""
ONE_CORE = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # several workers share an accelerator
}
"""The environment of a worker: with one thread each, sums are added in the same order on every machine."""


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def run(job: Job, units: Sequence[int], workers: int) -> Iterator[Done]:
    """Does units, and says what became of each as it is done."""
    waiting, deaths = deque(units), Counter[int]()
    busy: dict[Connection, _Worker] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker = _Worker(job)
                busy[worker.pipe] = worker
                worker.give(waiting.popleft())
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                try:
                    yield worker.pipe.recv()
                    if waiting:
                        worker.give(waiting.popleft())
                        continue
                except (EOFError, OSError):
                    deaths[worker.unit] += 1
                    if deaths[worker.unit] < MOST_DEATHS:
                        waiting.appendleft(worker.unit)
                    else:
                        yield Done(
                            worker.unit,
                            error=f"{MOST_DEATHS} workers died of `{job.units[worker.unit].file}`, the last "
                            f"with exit code {worker.exit_code()}. Lower --batch or --workers if memory ran "
                            "out.",
                        )
                del busy[worker.pipe]
                worker.end()
    finally:
        for worker in busy.values():
            worker.end()


class _Worker:
    """A process, and the unit that it is at."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, job), daemon=True)
        self._process.start()
        other.close()
        self.unit = -1

    def give(self, unit: int) -> None:
        """Has it do a unit; that it is dead shows when its answer is read."""
        self.unit = unit
        with contextlib.suppress(OSError):
            self.pipe.send(unit)

    def exit_code(self) -> int | None:
        """How it ended."""
        self._process.join()
        return self._process.exitcode

    def end(self) -> None:
        """Ends it, whatever it is at."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _serve(pipe: Connection, job: Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    os.environ.update(ONE_CORE)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tf_mlm.corpus.run_unit import run_unit
    from tf_mlm.lean_import import import_tensorflow_alone, silent_stderr

    import_tensorflow_alone()
    with silent_stderr():
        import tensorflow as tf
        import tensorflow_text  # noqa: F401

        tf.keras  # noqa: B018  (imported on first use; it repeats the chatter)
    while True:
        try:
            pipe.send(run_unit(job, pipe.recv()))
        except (EOFError, OSError):  # nobody is there any more
            return
