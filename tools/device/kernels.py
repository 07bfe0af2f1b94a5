"""How the time of a call falls on the kernels of a GPU, whoever launched them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def kernels(call: Callable[[], Any], calls: int = 3) -> list[dict[str, Any]]:
    """Name, count and milliseconds of each kernel in one call, the longest first, from torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    call()
    with profile(activities=[ProfilerActivity.CUDA]) as watch:
        for _ in range(calls):
            call()
    rows = [
        {
            "name": row.key,
            "count": row.count // calls,
            "milliseconds": row.self_device_time_total / calls / 1e3,
        }
        for row in watch.key_averages()
    ]
    return sorted(rows, key=lambda row: -row["milliseconds"])
