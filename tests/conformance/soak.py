"""Load on the embedded server while its models change, with every answer checked."""

from __future__ import annotations

import dataclasses
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from conformance.launcher import Launcher
from conformance.repository import Repository
from conformance.soak_clients import GrpcDoor, LiveModel, RestDoor, Tally, ask_until
from conformance.soak_nuisances import bother_until

SWAP = 3.0  # seconds in which a version that has appeared is found, loaded, and its predecessor unloaded
BATCHING = """
max_batch_size { value: 32 }
allowed_batch_sizes: 1
allowed_batch_sizes: 4
allowed_batch_sizes: 16
allowed_batch_sizes: 32
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 1000 }
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much of what; times in seconds."""

    duration: float
    clients: int
    swap_every: float
    reload_every: float
    malformed: float
    nuisances: int
    growth: float
    slowdown: float
    seed: int


def configurations(models: Path, live: Path) -> Iterator[Any]:
    """Model lists in turn: the three in use, and the same with one that comes and goes."""
    while True:
        for more in ((), ("half_plus_three",)):
            config = model_server_config_pb2.ModelServerConfig()
            for name in ("half_plus_two", "strings", *more):
                path = str(models / name)
                config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
            config.model_config_list.config.add(name="live", base_path=str(live), model_platform="tensorflow")
            yield config


def swap_times(answers: list[tuple[float, float]], swaps: list[float]) -> tuple[list[float], list[float]]:
    """How long requests took that were sent during a swap, and all others; both ascending."""
    around: list[float] = []
    elsewhere: list[float] = []
    for start, seconds in answers:
        during = any(0 <= start - swap < SWAP for swap in swaps)
        (around if during else elsewhere).append(seconds)
    return sorted(around), sorted(elsewhere)


def share(seconds: list[float], part: float) -> float:
    """The time within which `part` of the requests were answered."""
    return seconds[min(len(seconds) - 1, int(len(seconds) * part))]


def milliseconds(seconds: list[float]) -> str:
    return ", ".join(f"{1000 * share(seconds, part):.1f}" for part in (0.5, 0.99, 1.0))


def resident_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise OSError(f"/proc/{pid}/status has no VmRSS")


def becomes_available(server: Any, version: int, timeout: float = 30.0) -> bool:
    """The last version may have been published a moment ago."""
    deadline = time.monotonic() + timeout
    while server.states("live").get(version) != "AVAILABLE":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def memory_between(samples: list[tuple[float, float]], start: float, end: float) -> float:
    """The mean over the samples of a span; the one nearest to it where a busy machine took none."""
    inside = [size for at, size in samples if start <= at <= end]
    nearest = min(samples, key=lambda sample: abs(sample[0] - (start + end) / 2))
    return statistics.mean(inside or [nearest[1]])


def soak(directory: Path, plan: Plan) -> dict[str, Any]:
    """Starts the server, lets the clients at it, changes its models, and returns the figures."""
    repository = Repository(directory / "repository", ("half_plus_two", "half_plus_three", "strings")).write()
    launcher = Launcher([sys.executable, "-m", "tf_mlm.serving.model_server"], repository)
    live = LiveModel(directory / "live", versions=2 + int(plan.duration / plan.swap_every))
    tally, memory = Tally(), []
    lists = configurations(repository.models, live.base)
    flags = (
        f"--model_config_file={launcher.file(str(next(lists)))}",
        "--enable_batching",
        f"--batching_parameters_file={launcher.file(BATCHING, 'batching.config')}",
    )
    swaps: list[float] = []
    reloads = 0
    try:
        process = launcher.shared("soak", lambda: flags)
        start = time.monotonic()
        end = start + plan.duration
        askers = [
            GrpcDoor(process.grpc_address, live) if number % 2 == 0 else RestDoor(process.rest_address, live)
            for number in range(plan.clients)
        ]
        threads = [
            threading.Thread(
                target=ask_until,
                args=(end, asker, random.Random(plan.seed * 1000 + number), plan.malformed, tally),
            )
            for number, asker in enumerate(askers)
        ]
        others = [
            threading.Thread(target=bother_until, args=(end, process, number, plan.seed, tally))
            for number in range(plan.nuisances)
        ]
        for thread in (*threads, *others):
            thread.start()
        next_swap, next_reload = start + plan.swap_every, start + plan.reload_every
        while (now := time.monotonic()) < end and process.popen.poll() is None:
            memory.append((now - start, resident_megabytes(process.popen.pid)))
            if now >= next_swap:
                live.publish()
                swaps.append(now)
                next_swap += plan.swap_every
            if now >= next_reload:
                process.reload(next(lists))
                reloads, next_reload = reloads + 1, next_reload + plan.reload_every
            time.sleep(0.25)
        for thread in (*threads, *others):
            thread.join()
        alive = process.popen.poll() is None
        newest_serves = alive and becomes_available(process, live.newest)
        for asker in askers:
            asker.close()
    finally:
        launcher.close()
    early, window = min(60.0, plan.duration / 5), min(10.0, plan.duration / 10)
    first = memory_between(memory, early - window, early)
    final = memory_between(memory, plan.duration - window - 1, plan.duration)
    around, elsewhere = swap_times(tally.answers, swaps)
    return {
        "seconds": plan.duration,
        "clients": plan.clients,
        **dict(sorted(tally.counts.items())),
        "failed or wrong": tally.failed,
        "requests per second": round(len(tally.answers) / plan.duration, 1),
        "swaps": len(swaps),
        f"p50, p99, slowest ms in the {SWAP:g} s of a swap": milliseconds(around),
        "p50, p99, slowest ms elsewhere": milliseconds(elsewhere),
        "p99 in a swap over p99 elsewhere": round(share(around, 0.99) / share(elsewhere, 0.99), 2),
        "reloads": reloads,
        "alive at the end": alive,
        "newest version serves": newest_serves,
        f"memory MB at {early:.0f} s": round(first, 1),
        "memory MB at the end": round(final, 1),
        "memory growth": round(final / first - 1, 4),
        "failures": tally.failures,
    }
