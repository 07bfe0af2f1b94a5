"""Runs of several requests merged into one run of the graph.

Requests that feed the same tensors and fetch the same tensors share a queue. Their inputs are
joined along dim 0, the graph runs once, its outputs are cut apart again. Padding follows
TF-Serving, down to its choice of padding a variable length with the tensor's own first element.

Two things are ours. When the run of a merged batch fails, its halves are run, and so on down to the
request that is bad: one client's mistake never fails another's request. And a request that nobody
waits for any more is left out, or stops its batch when it was the last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from tf_mlm.serving.batching.merge import Feeds, merge, precondition, task_size
from tf_mlm.serving.batching.scheduler import BatchQueue, BatchScheduler, TaskBatch
from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError, as_serving_error, invalid_argument
from tf_mlm.serving.metrics import Metrics
from tf_mlm.serving.models.servable import Runner
from tf_mlm.serving.options import BatchingOptions

# Errors of the whole batch: it could not be put together or taken apart, or ran out of time.
_NEVER_ALONE = (
    Code.CANCELLED,
    Code.FAILED_PRECONDITION,
    Code.RESOURCE_EXHAUSTED,
    Code.DEADLINE_EXCEEDED,
)


def _queue_timeout() -> ServingError:
    return ServingError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")


@dataclasses.dataclass(eq=False)
class _Task:
    """A request, or a piece of one that was split."""

    feeds: Feeds
    size: int
    call: Call
    queued: float = dataclasses.field(default_factory=time.monotonic)
    running: bool = False
    abandoned: bool = False  # its caller ran out of time, or has gone
    outputs: list[np.ndarray] | None = None
    error: ServingError | None = None
    done: threading.Event = dataclasses.field(default_factory=threading.Event)


@contextlib.contextmanager
def _call_of_all(tasks: Sequence[_Task]) -> Iterator[Call]:
    """The call of a batch: it has the longest time of its tasks, and goes when the last of them goes.

    None of the tasks may have to wait for a stranger's deadline, nor lose its answer by one.
    """
    remaining = [task.call.remaining() for task in tasks]
    known = [seconds for seconds in remaining if seconds is not None]
    whole = Call(max(known) if len(known) == len(remaining) else None)
    waiting = len(tasks)
    lock = threading.Lock()

    def one_gone() -> None:
        nonlocal waiting
        with lock:
            waiting -= 1
            last = waiting == 0
        if last:
            whole.cancel()

    with contextlib.ExitStack() as stack:
        for task in tasks:
            stack.enter_context(task.call.when_cancelled(one_gone))
        yield whole


class _Merger:
    """Runs the batches of one queue: one set of fed and one tuple of fetched tensors."""

    def __init__(
        self,
        runner: Runner,
        fetches: tuple[str, ...],
        options: BatchingOptions,
        scheduler: BatchScheduler,
        metrics: Metrics,
    ) -> None:
        self._runner, self._fetches, self._scheduler = runner, fetches, scheduler
        self._options, self._metrics = options, metrics

    def process(self, batch: TaskBatch[_Task]) -> None:
        now = time.monotonic()
        tasks = [task for task in batch.tasks if not task.abandoned and not task.call.cancelled]
        if tasks and all(task.call.over for task in tasks):
            self._end(tasks, _queue_timeout())
            return
        for task in tasks:
            task.running = True
            self._metrics.queuing_latency.observe((now - task.queued) * 1e6, "")
        self._run_or_halve(tasks)

    def _run_or_halve(self, tasks: Sequence[_Task]) -> None:
        tasks = [task for task in tasks if not task.call.over]
        if not tasks:
            return
        try:
            outputs = self._run(tasks, sum(task.size for task in tasks))
        except Exception as caught:
            error = as_serving_error(caught)
            if len(tasks) == 1 or error.code in _NEVER_ALONE:
                self._end(tasks, error)
                return
            middle = len(tasks) // 2
            self._run_or_halve(tasks[:middle])
            self._run_or_halve(tasks[middle:])
            return
        for task, found in zip(tasks, outputs, strict=True):
            task.outputs = found
            task.done.set()

    def _end(self, tasks: Sequence[_Task], error: ServingError) -> None:
        for task in tasks:
            task.error = error
            task.done.set()

    def _run(self, tasks: Sequence[_Task], size: int) -> list[list[np.ndarray]]:
        options = self._options
        padded = next((allowed for allowed in options.allowed_batch_sizes if allowed >= size), size)
        pad_lengths = options.pad_variable_length_inputs
        feeds = {
            name: merge(name, [task.feeds[name] for task in tasks], pad_lengths, padded - size)
            for name in tasks[0].feeds
        }
        self._metrics.padding_size.observe(padded - size, str(padded))
        self._metrics.input_batch_size.observe(size)
        self._metrics.processed_batch_size.observe(padded)
        self._metrics.wrapped_run_count.add()
        with _call_of_all(tasks) as call, self._scheduler.watched(call):
            outputs = self._runner.run(feeds, self._fetches, call)
        for output in outputs:
            if output.ndim == 0:
                raise precondition("Batched output tensor has 0 dimensions")
            if output.shape[0] != padded:
                raise precondition(
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes "
                    "of the input tensors"
                )
        ends = np.cumsum([task.size for task in tasks]).tolist()
        return [
            [output[end - t.size : end] for output in outputs] for t, end in zip(tasks, ends, strict=True)
        ]


class BatchingRunner:
    """A runner that merges the runs of concurrent callers before it passes them on.

    Args:
        runner: runs the merged batches.
        options: sizes and waits.
        scheduler: the threads, shared by all models.
        metrics: where batches are counted.

    Attributes:
        options: sizes and waits.
    """

    def __init__(
        self, runner: Runner, options: BatchingOptions, scheduler: BatchScheduler, metrics: Metrics
    ) -> None:
        self._runner, self.options = runner, options
        self._scheduler, self._metrics = scheduler, metrics
        self._lock = threading.Lock()
        self._queues: dict[tuple[frozenset[str], tuple[str, ...]], BatchQueue[_Task]] = {}

    @property
    def waiting(self) -> int:
        """Requests, or pieces of them, whose batch has not begun."""
        with self._scheduler.changed:
            return sum(len(batch.tasks) for queue in self._queues.values() for batch in queue.batches)

    def _queue(self, feeds: Feeds, fetches: tuple[str, ...]) -> BatchQueue[_Task]:
        key = (frozenset(feeds), fetches)
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                options = self.options
                merger = _Merger(self._runner, fetches, options, self._scheduler, self._metrics)
                queue = self._queues[key] = BatchQueue(
                    self._scheduler,
                    merger.process,
                    options.execution_size,
                    options.batch_timeout,
                    options.max_enqueued_batches,
                    options.enable_large_batch_splitting,
                    self._runner,
                )
        return queue

    def run(self, feeds: Feeds, fetches: Sequence[str], call: Call | None = None) -> list[np.ndarray]:
        """As `Runner.run`; blocks until the batch of this request has run, or nobody waits for it.

        Raises:
            ServingError: INVALID_ARGUMENT for a task that no batch can hold, UNAVAILABLE when the
                queue is full, RESOURCE_EXHAUSTED when the time ran out in the queue, or the error
                of the run.
        """
        call = call or Call()
        size = task_size(feeds)
        if size > self.options.max_batch_size:
            raise invalid_argument(
                f"Task size {size} is larger than maximum input batch size {self.options.max_batch_size}"
            )
        unique = tuple(sorted(set(fetches)))
        queue = self._queue(feeds, unique)
        pieces = self._split(feeds, size, call)
        queue.submit([(piece, piece.size) for piece in pieces])
        self._wait(pieces, call)
        for piece in pieces:
            if piece.error is not None:
                raise piece.error
        found = [piece.outputs for piece in pieces if piece.outputs is not None]
        joined = (
            found[0] if len(found) == 1 else [np.concatenate(parts) for parts in zip(*found, strict=True)]
        )
        by_name = dict(zip(unique, joined, strict=True))
        return [by_name[name] for name in fetches]

    def _wait(self, pieces: Sequence[_Task], call: Call) -> None:
        def wake() -> None:
            for piece in pieces:
                piece.done.set()

        with call.when_cancelled(wake):
            finished = all(piece.done.wait(call.remaining()) for piece in pieces)
        if finished and not call.cancelled:
            return
        for piece in pieces:
            piece.abandoned = True
        if call.cancelled or any(piece.running for piece in pieces):
            raise call.error()
        raise _queue_timeout()

    def _split(self, feeds: Feeds, size: int, call: Call) -> list[_Task]:
        step = self.options.execution_size
        if not self.options.enable_large_batch_splitting or size <= step:
            return [_Task(feeds, size, call)]
        return [
            _Task(
                {name: array[start : start + step] for name, array in feeds.items()},
                min(step, size - start),
                call,
            )
            for start in range(0, size, step)
        ]

    def close(self) -> None:
        self._runner.close()
