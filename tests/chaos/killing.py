"""Kills workers of a running job with SIGKILL, one at a time, at random."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN = "--multiprocessing-fork"
"""In the command of a process that `multiprocessing` started."""


def start(arguments: Sequence[str], cwd: Path) -> subprocess.Popen[bytes]:
    """A job as a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tf_mlm", *arguments], cwd=cwd, env=environment, stdout=subprocess.DEVNULL
    )


def workers(driver: int, runner: str) -> list[int]:
    """The processes that do the units of a driver's job."""
    tree = _tree(driver)
    if runner == "ray":
        return [pid for pid in tree if _command(pid).startswith("ray::run_unit")]
    return [pid for pid in tree if OWN in _command(pid) and _has_tensorflow(pid)]


def kill_one(driver: int, runner: str, chance: random.Random) -> bool:
    """Kills a worker; whether there was one."""
    if not (found := workers(driver, runner)):
        return False
    os.kill(chance.choice(found), signal.SIGKILL)
    return True


def disturb(
    job: subprocess.Popen[bytes], runner: str, kills: int, chance: random.Random, pause: float
) -> int:
    """Kills workers until so many died or the job ended; how many died."""
    done = 0
    while done < kills and job.poll() is None:
        time.sleep(chance.uniform(0.2, 1.0) * pause)
        done += kill_one(job.pid, runner, chance)
    return done


def watch_memory(job: subprocess.Popen[bytes], parts: int = 10) -> list[float]:
    """The most megabytes that a worker of a local job had in each of so many equal parts of its time."""
    seen: list[float] = []
    while job.poll() is None:
        seen += [max(map(_megabytes, found), default=0.0)] if (found := workers(job.pid, "local")) else []
        time.sleep(0.25)
    return [
        max(seen[len(seen) * part // parts : len(seen) * (part + 1) // parts], default=0.0)
        for part in range(parts)
    ]


def _megabytes(pid: int) -> float:
    """Of a process, in memory now."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError, ValueError):
        return 0.0


def _has_tensorflow(pid: int) -> bool:
    """Whether a worker has begun to work: one that is still starting would only start again."""
    try:
        return "libtensorflow" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def _tree(driver: int) -> list[int]:
    """All descendants of a process."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
    found, level = [], [driver]
    while level:
        level = [pid for pid, parent in parents.items() if parent in level]
        found += level
    return found
