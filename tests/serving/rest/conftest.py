"""Servers of one model, with limits of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def make(serve, models: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A server of `half_plus_two` or another model, with limits of its own."""
    made = []

    def start(model: str = "half_plus_two", **options: Any) -> Any:
        base = tmp_path / f"{model}{len(made)}"
        shutil.copytree(models / model, base / "1")
        options = {"prometheus_path": "/metrics", **options}
        made.append(serve(model_name=model, model_base_path=str(base), **options))
        return made[-1]

    yield start
    for served in made:
        served.http.close()
        served.server.stop()
