"""Graphs are run as they are traced."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tf_mlm.model.graph_rewriting import graphs_as_written


@pytest.fixture(autouse=True, scope="module")
def quick_to_trace() -> Iterator[None]:
    """Each graph is run a few times here; rewriting it would take far longer."""
    with graphs_as_written():
        yield
