"""Starts and stops servers of the implementation under test, on free loopback ports."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc

from conformance.repository import Repository
from conformance.server import Server
from tf_mlm.serving.server_process import ServerProcess, free_ports

START_TIMEOUT = 180.0  # seconds; a server imports TensorFlow and loads every model first
EXIT_STATUS_OF_FAILURE = 255


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a process that ended by itself left behind."""

    status: int
    stdout: str
    stderr: str


class Process(Server):
    """A server process of ours to command. Its output is kept in files."""

    def __init__(
        self, command: Sequence[str], flags: Sequence[str], directory: Path, rest: bool = True
    ) -> None:
        self.directory = directory
        self._process = ServerProcess(
            command,
            flags,
            directory / "stdout",
            directory / "stderr",
            port_flags=("--port", "--rest_api_port") if rest else ("--port",),
        )
        self.popen = self._process.popen
        self.grpc_port, self.rest_port = self._process.grpc_port, self._process.rest_port
        super().__init__(f"127.0.0.1:{self.grpc_port}", f"127.0.0.1:{self.rest_port}")

    @property
    def stdout(self) -> str:
        return (self.directory / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return (self.directory / "stderr").read_text(errors="replace")

    def wait_ready(self, timeout: float = START_TIMEOUT) -> Process:
        self._process.wait(timeout)
        grpc.channel_ready_future(self.channel).result(timeout=timeout)
        return self

    def stop(self) -> None:
        self.close()
        self._process.stop(15)


class Launcher:
    """Runs `command` with flags. `shared` servers live until `close`; cases that only look use those.

    Args:
        command: the server's command line without flags, e.g. `["tensorflow_model_server"]`.
        repository: a written model repository.
    """

    def __init__(self, command: Sequence[str], repository: Repository) -> None:
        self.command = list(command)
        self.repository = repository
        self._scratch = tempfile.TemporaryDirectory(prefix="conformance-")
        self._shared: dict[str, Process] = {}
        self._lock = threading.Lock()
        self._count = 0

    def directory(self, name: str = "case") -> Path:
        """A new empty directory, removed when the launcher closes."""
        with self._lock:
            self._count += 1
            path = Path(self._scratch.name) / f"{self._count:03}-{name}"
        path.mkdir()
        return path

    def file(self, text: str, name: str = "models.config") -> str:
        """The path of a new file with this text."""
        path = self.directory("config") / name
        path.write_text(text)
        return str(path)

    def run(self, *flags: str, timeout: float = START_TIMEOUT) -> Finished:
        """Runs a command line that must end by itself. The port flags are left to the caller."""
        done = subprocess.run(
            [*self.command, *flags],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Finished(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def run_with_ports(self, *flags: str) -> Finished:
        grpc_port, rest_port = free_ports(2)
        return self.run(f"--port={grpc_port}", f"--rest_api_port={rest_port}", *flags)

    @contextlib.contextmanager
    def starting(self, *flags: str, rest: bool = True) -> Iterator[Process]:
        """A process that has been started and is stopped afterwards; nobody waits for its ports."""
        process = Process(self.command, flags, self.directory("server"), rest)
        try:
            yield process
        finally:
            process.stop()

    @contextlib.contextmanager
    def running(self, *flags: str, rest: bool = True) -> Iterator[Process]:
        with self.starting(*flags, rest=rest) as process:
            yield process.wait_ready()

    def shared(self, name: str, flags: Callable[[], Sequence[str]]) -> Process:
        """The server of this name, started with `flags()` when first asked for."""
        if name not in self._shared:
            process = Process(self.command, flags(), self.directory(name))
            try:
                process.wait_ready()
            except BaseException:
                process.stop()
                raise
            self._shared[name] = process
        return self._shared[name]

    @property
    def standard(self) -> Process:
        return self.shared("standard", lambda: self.repository.standard_flags)

    @property
    def batching(self) -> Process:
        return self.shared("batching", lambda: self.repository.batching_flags)

    def close(self) -> None:
        for process in self._shared.values():
            process.stop()
        self._shared.clear()
        self._scratch.cleanup()
