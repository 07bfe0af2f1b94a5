"""What this machine can do at best, measured here and now, and how many cores a contest may use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any


def pin(cores: int) -> int:
    """Keeps this process, and every thread it starts from here on, on its first `cores` cores.

    Thread pools of TensorFlow, torch and ONNX Runtime size themselves by it, so call it before they start.

    Returns:
        The number of cores there really are to use.
    """
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    os.sched_setaffinity(0, chosen)
    return len(chosen)


def cores() -> int:
    """How many cores this process may use: every contender gets as many threads."""
    return len(os.sched_getaffinity(0))


class Machine:
    """What no program on this machine exceeds by much: a large matrix product, and reading memory.

    Example:
        >>> machine = Machine()
        >>> machine.milliseconds(flops=1e9, read=1e6) > 0
        True
    """

    def __init__(self) -> None:
        import tensorflow as tf

        side, rows, columns = 1536, 64, 1 << 20
        x, y = tf.random.normal([side, side]), tf.random.normal([rows, columns])
        # 268 MB, far beyond the caches.
        self._product = tf.function(lambda: tf.matmul(x, x)[0, 0], jit_compile=False)
        self._sum = tf.function(lambda: tf.reduce_sum(y, 1), jit_compile=True)
        self._flops, self._bytes = 2.0 * side**3, 4.0 * rows * columns

    def milliseconds(self, flops: float, read: float) -> float:
        """The least time for so many operations and bytes to read, whichever takes longer, right now.

        Speeds drift and depend on what ran before, so a contest asks in each of its rounds.
        """
        by_flops = flops * _seconds(self._product) / self._flops
        by_bytes = read * _seconds(self._sum) / self._bytes
        return 1e3 * max(by_flops, by_bytes)


def _seconds(work: Callable[[], Any]) -> float:
    work().numpy()
    started = time.perf_counter()
    work().numpy()
    return time.perf_counter() - started
