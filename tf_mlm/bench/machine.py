"""What this machine can do at best, measured here and now, and how many cores a contest may use."""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Machine:
    """Speeds that no program on this machine exceeds by much.

    Attributes:
        flops: float32 operations per second of a large matrix product.
        bandwidth: bytes per second that a sum over memory far beyond the caches reads.
    """

    flops: float
    bandwidth: float

    @classmethod
    def measured(cls) -> Machine:
        """The best of many runs of a matrix product and of a sum, both on every core."""
        import tensorflow as tf

        side, rows, columns = 1536, 64, 1 << 20
        x, y = tf.random.normal([side, side]), tf.random.normal([rows, columns])
        product = tf.function(lambda: tf.matmul(x, x)[0, 0], jit_compile=False)
        total = tf.function(lambda: tf.reduce_sum(y, 1), jit_compile=True)
        return cls(
            flops=2 * side**3 / _best(lambda: product().numpy()),
            bandwidth=4 * rows * columns / _best(lambda: total().numpy()),
        )

    def milliseconds(self, flops: float, read: float) -> float:
        """The least time for so many operations and bytes to read, whichever takes longer."""
        return 1e3 * max(flops / self.flops, read / self.bandwidth)


def _best(work: Callable[[], Any], rounds: int = 25) -> float:
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
