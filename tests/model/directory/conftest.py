"""Graphs of tokenizers are run as they are traced."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def as_traced(quick_to_trace: None) -> None:
    """What a directory holds is the subject here, and no graph."""
