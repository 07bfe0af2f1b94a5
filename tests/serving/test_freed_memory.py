"""Memory of large requests goes back to the system: when, how often, and over either protocol."""

from __future__ import annotations

import queue
import shutil
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from tf_mlm.serving.freed_memory import LARGE, FreedMemory


def test_only_large_requests_count() -> None:
    trims: queue.SimpleQueue[str] = queue.SimpleQueue()
    memory = FreedMemory(lambda: trims.put("trimmed"))
    memory.request_ended(LARGE - 1)
    assert memory._thread is None
    memory.request_ended(LARGE)
    assert trims.get(timeout=30) == "trimmed"
    memory.request_ended(LARGE)  # and again later
    assert trims.get(timeout=30) == "trimmed"


def test_requests_that_end_while_memory_is_given_back_are_one_more() -> None:
    trims: queue.SimpleQueue[int] = queue.SimpleQueue()
    begun, go_on = threading.Event(), threading.Event()

    def trim() -> None:
        begun.set()
        go_on.wait(30)
        trims.put(1)

    memory = FreedMemory(trim)
    memory.request_ended(LARGE)
    assert begun.wait(30)
    for _ in range(100):
        memory.request_ended(LARGE)
    go_on.set()
    assert [trims.get(timeout=30) for _ in range(2)] == [1, 1]
    with pytest.raises(queue.Empty):
        trims.get(timeout=0.5)


def test_a_system_without_a_way_is_left_alone() -> None:
    memory = FreedMemory(None)
    memory.request_ended(LARGE)
    assert memory._thread is None


@pytest.mark.parametrize("protocol", ["gRPC", "REST"])
def test_a_large_request_is_told_of(serve, models: Path, tmp_path: Path, protocol: str) -> None:
    shutil.copytree(models / "half_plus_two", tmp_path / "m" / "1")
    served = serve(model_name="m", model_base_path=str(tmp_path / "m"))
    given_back = threading.Event()
    served.server.service.freed_memory = FreedMemory(given_back.set)
    if protocol == "REST":
        assert served.post("m:predict", b'{"instances": [' + b" " * LARGE + b"2.0]}").status_code == 200
    else:
        with pytest.raises(grpc.RpcError):
            served.predict("unknown", {"x": np.zeros(LARGE // 4, np.float32)})
    assert given_back.wait(30)
    served.server.stop()
