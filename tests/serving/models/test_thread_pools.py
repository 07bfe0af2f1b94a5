from __future__ import annotations

import contextlib
import os

import pytest
from tensorflow.core.protobuf import config_pb2

from tf_mlm.serving.models import thread_pools
from tf_mlm.serving.models.thread_pools import ThreadPools


def pools(most_runs: int = 8) -> ThreadPools:
    return ThreadPools(config_pb2.ConfigProto(), most_runs)


def test_one_run_per_core_takes_the_small_pool() -> None:
    chosen = pools()
    with contextlib.ExitStack() as runs:
        taken = [runs.enter_context(chosen.taken()) for _ in range((os.cpu_count() or 1) + 3)]
    assert taken == [0] * (os.cpu_count() or 1) + [1, 1, 1]
    with chosen.taken() as pool:
        assert pool == 0


def test_behind_a_long_run_the_others_take_the_large_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(thread_pools.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(thread_pools.os, "cpu_count", lambda: 8)
    chosen = pools()
    with chosen.taken() as first:
        clock[0] = 60.0
        with chosen.taken() as second:
            pass
    with chosen.taken() as third:
        pass
    assert (first, second, third) == (0, 1, 0)


@pytest.mark.parametrize("given", [{}, {"inter_op_parallelism_threads": 3}])
@pytest.mark.parametrize("most_runs", [0, 5])
def test_there_is_a_large_pool_unless_the_number_of_threads_is_given(
    given: dict[str, int], most_runs: int
) -> None:
    config = config_pb2.ConfigProto(**given)
    chosen = ThreadPools(config, most_runs)
    has_large = bool(most_runs) and not given
    assert len(config.session_inter_op_thread_pool) == 2 * has_large
    with contextlib.ExitStack() as runs:
        for _ in range(os.cpu_count() or 1):
            runs.enter_context(chosen.taken())
        with chosen.taken() as pool:
            assert pool == int(has_large)
