"""Both kinds of client, asked in the same way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tf_mlm.serving.client.async_client import AsyncClient
from tf_mlm.serving.client.client import Client


class OnALoop:
    """An `AsyncClient` on an event loop of its own, with the methods of a `Client`."""

    def __init__(self, target: str, **options: Any) -> None:
        self._runner = asyncio.Runner()

        async def make() -> AsyncClient:
            return AsyncClient(target, **options)

        self._client = self._runner.run(make())

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not inspect.iscoroutinefunction(method):
            return method
        return lambda *args, **options: self._runner.run(method(*args, **options))

    def __enter__(self) -> OnALoop:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(scope="module", params=[Client, OnALoop], ids=["blocking", "async"])
def connect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a client of either kind."""
    return request.param
