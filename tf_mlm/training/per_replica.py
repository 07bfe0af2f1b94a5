"""Functions that run on each replica of a strategy, compiled by XLA once per device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm.training.strategy import compiles_whole_step


def replica_index(strategy: tf.distribute.Strategy) -> int:
    """Which of this process's replicas is calling; 0 where there is only one."""
    if strategy.num_replicas_in_sync == 1:
        return 0
    replica = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
    return int(replica) % local_replicas(strategy)


def local_replicas(strategy: tf.distribute.Strategy) -> int:
    """How many replicas this process runs."""
    return len(strategy.extended.worker_devices)


class PerReplica:
    """`function(replica, *tensors)`, with `replica` the local index, compiled separately for each.

    One compiled program reads variables on one device only, so replicas cannot share it. On TPU,
    `strategy.run` compiles everything, and the function is called as it is with replica 0.
    """

    def __init__(
        self, function: Callable[..., Any], strategy: tf.distribute.Strategy, *, compile: bool
    ) -> None:
        self._function, self._strategy = function, strategy
        self._jit = compile and not compiles_whole_step(strategy)
        self._compiled: dict[int, Any] = {}

    def __call__(self, *tensors: Any) -> Any:
        if not self._jit:
            index = 0 if compiles_whole_step(self._strategy) else replica_index(self._strategy)
            return self._function(index, *tensors)
        index = replica_index(self._strategy)
        if index not in self._compiled:
            self._compiled[index] = tf.function(
                lambda *tensors: self._function(index, *tensors), jit_compile=True, autograph=False
            )
        return self._compiled[index](*tensors)
