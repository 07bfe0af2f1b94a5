"""Waiting for a state, as long as a busy machine may need for it."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(holds: Callable[[], object], seconds: float = 120.0) -> object:
    """The first true value of `holds`; fails when none comes within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "the expected state did not come about in time"
        time.sleep(0.01)
    return found
