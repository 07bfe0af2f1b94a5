"""On which of a session's threads a graph run goes.

TensorFlow is fastest with few threads. But a loop in a graph can hold a thread for as long as it runs: so
many endless runs, and no other begins or even notices that it is to stop. So a session has two pools, and a
run takes the large one, with threads for every run there can be, as soon as the small one could be held up.
The small one has a run per core at most, and twice as many threads and one: whatever those runs hold, the
nodes that stop them find a thread.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

_SMALL, _LARGE = 0, 1
_LONG_RUN_SECONDS = 0.1


class ThreadPools:
    """Hands each run one of two pools.

    Args:
        config: of the session that is to be made; it is given the pools, unless it says itself how many
            threads there are.
        most_runs: runs that may be under way at once; 0 for a session without a large pool.

    Example:
        >>> from tensorflow.core.protobuf import config_pb2
        >>> pools = ThreadPools(config_pb2.ConfigProto(), most_runs=64)
        >>> with pools.taken() as pool:
        ...     pool
        0
    """

    def __init__(self, config: Any, most_runs: int) -> None:
        self._cores = os.cpu_count() or 1
        self._has_large = bool(most_runs) and not (
            config.inter_op_parallelism_threads or config.session_inter_op_thread_pool
        )
        if self._has_large:
            threads = most_runs + self._cores
            config.session_inter_op_thread_pool.add(num_threads=2 * self._cores + 1)
            config.session_inter_op_thread_pool.add(num_threads=threads, global_name=f"serving-{threads}")
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._small_runs: dict[int, float] = {}  # when each began, the oldest first

    @contextlib.contextmanager
    def taken(self) -> Iterator[int]:
        """The number of the pool that a run shall take."""
        now = time.monotonic()
        with self._lock:
            oldest = next(iter(self._small_runs.values()), now)
            held_up = len(self._small_runs) >= self._cores or now - oldest > _LONG_RUN_SECONDS
            if self._has_large and held_up:
                pool = _LARGE
            else:
                pool, number = _SMALL, next(self._numbers)
                self._small_runs[number] = now
        try:
            yield pool
        finally:
            if pool == _SMALL:
                with self._lock:
                    del self._small_runs[number]
