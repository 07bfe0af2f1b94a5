"""The memory of a process as the kernel counts it, and an end to the process that takes too much."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

EVERY = 0.05  # seconds between looks; the peak itself is the kernel's, not that of the looks


class Watch:
    """Knows the peak of a process's resident memory since `reset`, in bytes.

    Kills the process when it holds more than `limit` bytes.

    Attributes:
        peak: the largest number of bytes since the last reset; it stays when the process has gone.
        killed: whether the limit was passed.
    """

    def __init__(self, pid: int, limit: int) -> None:
        self.pid, self.limit = pid, limit
        self.peak = 0
        self.killed = False
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def look(self) -> None:
        with self._lock:
            self.peak = max(self.peak, field(self.pid, "VmHWM"))

    def reset(self) -> None:
        with self._lock:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the kernel's own peak starts anew
            self.peak = field(self.pid, "VmRSS")

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            try:
                self.look()
                if field(self.pid, "VmRSS") > self.limit:
                    self.killed = True
                    os.kill(self.pid, signal.SIGKILL)
                    return
            except (OSError, KeyError):  # it has ended
                return

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def field(pid: int, name: str) -> int:
    """A line of /proc/PID/status in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise KeyError(name)


def cpu_seconds(pid: int) -> float:
    """User and system time a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
