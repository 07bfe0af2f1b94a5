"""Runs steps under a strategy: one code path for one device, several, several workers, and TPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.training.data.dataset import share_of
from tf_mlm.training.loss import LossSums
from tf_mlm.training.per_replica import PerReplica
from tf_mlm.training.step import METRICS, Batch, TrainStep
from tf_mlm.training.strategy import compiles_whole_step


class TrainLoop:
    """`loop.run(batches, count)` takes `count` steps without coming back to Python in between.

    Args:
        step: made inside `strategy.scope()`.
        strategy: where to run.
        compile: whether XLA compiles what runs on each device.
    """

    def __init__(self, step: TrainStep, strategy: tf.distribute.Strategy, *, compile: bool = True) -> None:
        self._step, self._strategy = step, strategy
        self._shapes: list[tf.TensorShape] = []

        def update(replica: int, sums: LossSums, gradients: list[tf.Tensor]) -> tf.Tensor:
            return step.update(sums, gradients, local=lambda variable: self._local(variable, replica))

        self._whole = PerReplica(lambda _, batch: step(batch), strategy, compile=compile)
        self._sums = PerReplica(
            lambda _, batch, shard: step.sums(batch, shard=shard), strategy, compile=compile
        )
        self._update = PerReplica(update, strategy, compile=compile)
        self._run = tf.function(self._steps)

    def distribute(self, batches: tf.data.Dataset, *, of_worker: bool = False) -> Iterator[Any]:
        """An iterator over global batches, or those of this worker, that gives each replica its own share."""

        def own(context: tf.distribute.InputContext) -> tf.data.Dataset:
            shares = share_of(batches, context, of_worker=of_worker, parts=self._step.parts)
            self._shapes = [spec.shape for spec in shares.element_spec if isinstance(spec, tf.TensorSpec)]
            return shares

        return iter(self._strategy.distribute_datasets_from_function(own))

    def run(self, batches: Iterator[Any], count: int) -> np.ndarray:
        """Takes `count` steps; float32 [count, metrics], the `METRICS` of each."""
        return self._run(batches, tf.constant(count)).numpy()

    def _steps(self, batches: Iterator[Any], count: tf.Tensor) -> tf.Tensor:
        metrics = tf.TensorArray(tf.float32, size=count, element_shape=[len(METRICS)])
        for index in tf.range(count):  # AutoGraph makes this a loop in the graph
            per_replica = self._strategy.run(self._replica_step, args=(next(batches),))
            metrics = metrics.write(index, self._strategy.experimental_local_results(per_replica)[0])
        return metrics.stack()

    @tf.autograph.experimental.do_not_convert
    def _replica_step(self, batch: Batch) -> tf.Tensor:
        if self._strategy.num_replicas_in_sync == 1:
            return self._whole(batch)
        # Workers of a cluster are told of batches that may be short; these never are.
        found = (x for x in batch if x is not None)
        batch = Batch(*(tf.ensure_shape(x, shape) for x, shape in zip(found, self._shapes, strict=True)))
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group
        sums, gradients = self._sums(batch, replica)
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [*sums, *gradients])
        return self._update(LossSums(*summed[:3]), summed[3:])

    def _local(self, variable: tf.Variable, replica: int) -> tf.Variable:
        """The copy of a variable that a replica updates: sums are equal everywhere, so copies stay so."""
        if compiles_whole_step(self._strategy):
            return variable  # on TPU a variable stands for the copy of whoever uses it
        return self._strategy.experimental_local_results(variable)[replica]
