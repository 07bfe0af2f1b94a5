"""Queues that collect tasks into batches, and the threads that run the batches in turn.

The rules are TF-Serving's shared batch scheduler's: one open batch per queue; a batch is ready when
it is full, when it has waited long enough, or when a newer one was opened behind it; all queues
share the threads, each getting its turn.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from tf_mlm.serving.call import LOOK_SECONDS, Call, StuckCalls
from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.options import MAX_STUCK_RUNS, spare

_log = logging.getLogger(__name__)
Task = TypeVar("Task")


class TaskBatch(Generic[Task]):
    """Tasks that will run together. `size` counts rows."""

    def __init__(self, deadline: float) -> None:
        self.tasks: list[Task] = []
        self.size = 0
        self.deadline = deadline  # monotonic seconds at which it runs however small it is

    def add(self, task: Task, size: int) -> None:
        self.tasks.append(task)
        self.size += size


class BatchQueue(Generic[Task]):
    """Batches of one kind: the last is open for more tasks, those before it are ready."""

    def __init__(
        self,
        scheduler: BatchScheduler,
        process: Callable[[TaskBatch[Task]], None],
        max_execution_size: int,
        timeout: float,
        max_batches: int,
        splitting: bool,
        owner: object,
    ) -> None:
        self._scheduler = scheduler
        self.owner = owner  # the model: queues of one share its threads
        self.process = process
        self._max_size = max_execution_size
        self._timeout = timeout
        self._max_batches = max_batches if splitting else max(1, max_batches)
        self._splitting = splitting
        self.batches: collections.deque[TaskBatch[Task]] = collections.deque()

    def submit(self, pieces: list[tuple[Task, int]]) -> None:
        """Enqueues a task's pieces (one, unless it was split); all or none.

        Raises:
            ServingError: UNAVAILABLE when the queue is full or the scheduler has been closed.
        """
        with self._scheduler.changed:
            if self._scheduler.closed:
                raise ServingError(Code.UNAVAILABLE, "The batch scheduler has been shut down")
            self._check_room(sum(size for _, size in pieces))
            for task, size in pieces:
                if not self.batches or self.batches[-1].size + size > self._max_size:
                    self.batches.append(TaskBatch(time.monotonic() + self._timeout))
                self.batches[-1].add(task, size)
            self._scheduler.wake(self)

    def room_in_open_batch(self) -> int:
        return self._max_size - self.batches[-1].size if self.batches else 0

    def _check_room(self, size: int) -> None:
        open_room, queued = self.room_in_open_batch(), len(self.batches)
        if not self._splitting:
            if size > open_room and queued >= self._max_batches:
                raise ServingError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; currently "
                    f"{queued} batches enqueued and max_enqueued_batches is {self._max_batches}",
                )
            return
        capacity = (self._max_batches - queued) * self._max_size + open_room
        if size > capacity:
            raise ServingError(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; task size is "
                f"{size} but scheduling capacity is only {capacity} (num_enqueued_batches={queued}, "
                f"max_enqueued_batches={self._max_batches}, open_batch_capacity={open_room})",
            )

    def next_ready(self, now: float) -> TaskBatch[Task] | None:
        """Takes out the first batch if it may run."""
        if not self.batches:
            return None
        first = self.batches[0]
        if len(self.batches) > 1 or first.size >= self._max_size or now >= first.deadline:
            return self.batches.popleft()
        return None


class BatchScheduler:
    """Threads that serve any number of queues, round robin.

    A model may hold `num_threads` of them; where those are several, a quarter more is kept for the others, so
    that a model that never answers does not silence them. A thread whose batch goes on when nobody waits for
    it any more is replaced, and ends after it.
    """

    def __init__(self, num_threads: int) -> None:
        self._most_of_one = num_threads
        self._busy: collections.Counter[int] = collections.Counter()  # threads by the identity of the owner
        self.changed = threading.Condition()
        self.closed = False
        self._queues: collections.deque[BatchQueue] = collections.deque()  # those with batches
        self._threads: list[threading.Thread] = []
        self._running: dict[threading.Thread, Call] = {}
        self._owners: dict[threading.Thread, int] = {}
        self._replaced: set[threading.Thread] = set()
        for _ in range(num_threads + (spare(num_threads) if num_threads > 1 else 0)):
            self._start_thread()
        threading.Thread(target=self._watch, name="batch-watch", daemon=True).start()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"batch-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    @contextlib.contextmanager
    def watched(self, call: Call) -> Iterator[None]:
        """Marks the block as the run of a batch that is waited for as long as the call is not over."""
        thread = threading.current_thread()
        with self.changed:
            self._running[thread] = call
        try:
            yield
        finally:
            with self.changed:
                del self._running[thread]

    def _watch(self) -> None:
        stuck_calls = StuckCalls()
        while not self.closed:
            time.sleep(LOOK_SECONDS)
            with self.changed:
                at_work = {call: t for t, call in self._running.items() if t not in self._replaced}
                for call in stuck_calls.among(at_work):
                    if len(self._replaced) < MAX_STUCK_RUNS:
                        thread = at_work[call]
                        self._replaced.add(thread)
                        self._free(thread)
                        self._start_thread()

    def wake(self, queue: BatchQueue) -> None:
        """Called with the lock held after a queue has grown."""
        if queue not in self._queues:
            self._queues.append(queue)
        self.changed.notify()

    def _work(self) -> None:
        while True:
            with self.changed:
                while (found := self._take()) is None:
                    if self.closed and not self._queues:
                        return
                    self.changed.wait(self._next_deadline())
                queue, batch = found
                thread = threading.current_thread()
                self._owners[thread] = id(queue.owner)
                self._busy[id(queue.owner)] += 1
            try:
                queue.process(batch)
            except Exception:
                _log.exception("A batch could not be processed")
            with self.changed:
                self._free(thread)
                if thread in self._replaced:
                    self._replaced.remove(thread)
                    self._threads.remove(thread)
                    return

    def _free(self, thread: threading.Thread) -> None:
        """The thread holds none of its model's places any more."""
        owner = self._owners.pop(thread, None)
        if owner is not None:
            self._busy[owner] -= 1
            if not self._busy[owner]:
                del self._busy[owner]
            self.changed.notify()  # a batch of the same model may have waited for that

    def _may_run(self, queue: BatchQueue) -> bool:
        return self._busy[id(queue.owner)] < self._most_of_one

    def _take(self) -> tuple[BatchQueue, TaskBatch] | None:
        now = float("inf") if self.closed else time.monotonic()
        for _ in range(len(self._queues)):
            queue = self._queues.popleft()
            batch = queue.next_ready(now) if self._may_run(queue) else None
            if queue.batches:
                self._queues.append(queue)
            if batch is not None:
                if self._queues:
                    self.changed.notify()  # others may have work, too
                return queue, batch
        return None

    def _next_deadline(self) -> float | None:
        deadlines = [queue.batches[0].deadline for queue in self._queues if self._may_run(queue)]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def close(self, timeout: float = 30.0) -> None:
        """Runs what is queued, then ends the threads; waits for that at most `timeout` seconds."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
