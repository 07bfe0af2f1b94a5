"""Stops a run of a TensorFlow session when its client has gone.

A session's interface has no such thing: a run ends by itself, by an error of one of its nodes, or by the
time-out it began with. So each run is given a node that waits, without holding a thread, for an element of a
queue of the run's own. When the outputs are there, another node puts that element in. When the client goes,
the queue is closed, the waiting node fails, and TensorFlow stops the rest of the run as for any error.

The queue of a run is chosen by a number that is fed, so that all runs of the same outputs share what
TensorFlow prepares for them. It costs some 70 µs a run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.serving.models.raw_session import RawSession, caller_options, operation, output

_log = logging.getLogger(__name__)
# Errors number a run's inputs in the order of their names: what is fed beside them must come last.
_SCOPE = "zzzz_stoppable_runs"


class Stoppable:
    """One run that can be stopped: what it feeds and runs beside its own."""

    def __init__(self, canceller: Canceller, number: int, feeds: dict[Any, Any], targets: list[Any]) -> None:
        self._canceller, self._number = canceller, number
        self._lock = threading.Lock()
        self._stopped = self._ended = self._released = False
        self.feeds, self.targets = feeds, targets

    def stop(self) -> None:
        """Stops the run, if it has not ended. Takes well under a millisecond."""
        with self._lock:
            if not self._ended and not self._stopped:
                self._stopped = True
                self._canceller.close_queue(self._number)

    def release(self) -> None:
        """Lets the waiting node end at once: the run cannot be stopped, and all its errors are its own."""
        self._released = True
        self._canceller.release(self._number)

    def end(self, succeeded: bool) -> None:
        """The run is over, and its queue can serve another; after an error it is made anew."""
        with self._lock:
            self._ended = True
        self._canceller.give_back(self._number, whole=succeeded and not self._stopped and not self._released)


class Canceller:
    """Makes the runs of a session stoppable.

    Args:
        session: with the model in it; nodes are added to its graph.
        runs: how many runs can be stoppable at the same time.
        outputs: the sets of outputs that will be fetched, as tensors, by their key.
    """

    def __init__(self, session: RawSession, runs: int, outputs: dict[tuple[str, ...], list[Any]]) -> None:
        self._session = session
        self._caller = caller_options()
        self._lock = threading.Lock()
        self._targets: dict[tuple[str, ...], list[Any]] = {}
        with session.graph.as_default(), tf.device("/cpu:0"), tf.name_scope(_SCOPE):
            ops = tf.raw_ops
            self._key = tf.compat.v1.placeholder(tf.int64, [], name="queue")
            shared = "stoppable_runs"
            self._handle = ops.MapPeek(key=self._key, indices=[0], dtypes=[tf.resource], shared_name=shared)[
                0
            ]
            self._wait = ops.QueueDequeueV2(handle=self._handle, component_types=[tf.bool])[0].op
            self._close = ops.QueueCloseV2(handle=self._handle, cancel_pending_enqueues=True)
            self._release = ops.QueueEnqueueV2(handle=self._handle, components=[tf.constant(True)])
            self._destroy = ops.DestroyResourceOp(resource=self._handle, ignore_lookup_error=True)
            queues = [
                ops.FIFOQueueV2(
                    component_types=[tf.bool], shapes=[[]], capacity=1, shared_name=f"{shared}_{number}"
                )
                for number in range(runs)
            ]
            staged = [
                ops.MapStage(
                    key=tf.constant(number, tf.int64),
                    indices=[0],
                    values=[queue],
                    dtypes=[tf.resource],
                    shared_name=shared,
                )
                for number, queue in enumerate(queues)
            ]
        self._queues = [queue.op for queue in queues]
        for key, tensors in outputs.items():
            self._add(key, tensors)
        session.extend()
        self._run(staged)
        self._free = list(range(runs))
        self.close_queue(0)  # prepares these operations
        self._free.remove(0)
        self.give_back(0, whole=False)

    def _add(self, key: tuple[str, ...], tensors: Sequence[Any]) -> None:
        """The node that puts the element in when these tensors are there.

        A control dependency alone would not do: TensorFlow drops it where the tensors come from a function
        without side effects. An assertion has some, and looks at its data only when it fails.
        """
        with self._session.graph.as_default(), tf.device("/cpu:0"), tf.name_scope(_SCOPE):
            fed = tf.greater_equal(self._key, 0)
            there = tf.raw_ops.Assert(condition=fed, data=list(tensors), summarize=1)
            with tf.control_dependencies([there]):
                done = tf.raw_ops.QueueEnqueueV2(handle=self._handle, components=[True])
        self._targets[key] = [operation(done), operation(self._wait)]

    def begin(self, key: tuple[str, ...], tensors: Callable[[], Sequence[Any]]) -> Stoppable | None:
        """A run of these outputs that can be stopped; `None` when too many are under way."""
        with self._lock:
            if key not in self._targets:
                self._add(key, tensors())
                self._session.extend()
            if not self._free:
                return None
            number = self._free.pop()
        feeds = {output(self._key): np.int64(number)}
        return Stoppable(self, number, feeds, self._targets[key])

    def _run(self, operations: Sequence[Any], number: int | None = None) -> None:
        """Runs operations on this thread, whatever TensorFlow's own are busy with."""
        feeds = {} if number is None else {output(self._key): np.int64(number)}
        self._session.run(self._caller, feeds, [], [operation(node) for node in operations])

    def close_queue(self, number: int) -> None:
        self._run([self._close], number)

    def release(self, number: int) -> None:
        self._run([self._release], number)

    def give_back(self, number: int, whole: bool) -> None:
        if not whole:
            try:
                self._run([self._destroy], number)
                self._run([self._queues[number]])
            except tf.errors.OpError:
                _log.exception("A queue of the stoppable runs is lost")
                return
        with self._lock:
            self._free.append(number)
