"""Training and evaluation that do not wait for XLA, for tests of something else than what it compiles."""

from __future__ import annotations

from typing import Any

import pytest


def without_xla(patch: pytest.MonkeyPatch) -> None:
    """Steps and evaluations run as they are traced: compiling them takes most of a short run."""
    from tf_mlm.training.per_replica import PerReplica

    compiled = PerReplica.__init__

    def interpreted(self: PerReplica, function: Any, strategy: Any, *, compile: bool) -> None:
        compiled(self, function, strategy, compile=False)

    patch.setattr(PerReplica, "__init__", interpreted)
