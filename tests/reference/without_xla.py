"""Short runs of training and evaluation that wait neither for XLA nor for a graph.

For tests of something else than what is compiled: tracing and compiling take most of a run of a few steps.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import pytest
from reference.untraced import untraced


def without_xla(patch: pytest.MonkeyPatch) -> None:
    """Steps, evaluations and samples run operation by operation, as they are written."""
    from tf_mlm.training.evaluation import Evaluator
    from tf_mlm.training.per_replica import PerReplica
    from tf_mlm.training.run.loop import TrainLoop
    from tf_mlm.training.run.samples import SampleFills

    compiled = PerReplica.__init__

    def interpreted(self: PerReplica, function: Any, strategy: Any, *, compile: bool) -> None:
        compiled(self, function, strategy, compile=False)

    patch.setattr(PerReplica, "__init__", interpreted)
    for owner, name in ((TrainLoop, "run"), (Evaluator, "__call__"), (SampleFills, "__call__")):
        patch.setattr(owner, name, _eagerly(getattr(owner, name)))


def _eagerly(method: Any) -> Any:
    @functools.wraps(method)
    def run(*arguments: Any, **options: Any) -> Any:
        with untraced(), warnings.catch_warnings():
            # Datasets keep their graphs, which is well.
            warnings.filterwarnings("ignore", "Even though the `tf.config")
            return method(*arguments, **options)

    return run
