"""A named, versioned model, and what it needs to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tf_mlm.serving.call import Call
from tf_mlm.serving.models.served_signature import ServedSignature


class Runner(Protocol):
    """What stands between a request and the graph: the session itself, or a batch queue before it."""

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], call: Call | None = None
    ) -> list[np.ndarray]: ...

    def close(self) -> None: ...


class Servable:
    """A named, versioned model that answers runs.

    Attributes:
        signatures: the signatures by name.
    """

    def __init__(
        self, name: str, version: int, signatures: Mapping[str, ServedSignature], runner: Runner
    ) -> None:
        self.name = name
        self.version = version
        self.signatures = signatures
        self._runner = runner

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], call: Call | None = None
    ) -> list[np.ndarray]:
        return self._runner.run(feeds, fetches, call)

    def close(self) -> None:
        self._runner.close()
