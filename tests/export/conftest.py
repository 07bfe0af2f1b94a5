"""Stock servers, as far as an export can tell: one that compiles with XLA, and one that refuses to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from export.stock import StockSession, stock_process


@pytest.fixture(scope="package")
def stock_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockSession]:
    """With XLA, told to compile."""
    with stock_process("--dump", str(tmp_path_factory.mktemp("dump"))) as ask:
        yield ask


@pytest.fixture(scope="package")
def server_without_xla() -> Iterator[StockSession]:
    """What refuses whatever it would have to compile."""
    with stock_process("--disable-xla") as ask:
        yield ask
