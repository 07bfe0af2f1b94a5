"""A server in a process of its own on this machine, and the wait until it answers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tf_mlm.serving.errors import Code, ServingError

HOST = "127.0.0.1"
_TAIL = 1500


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


class ServerProcess:
    """Starts a command line that serves, on ports of its own.

    Args:
        command: the command line's beginning.
        flags: the rest of it, behind the ports, which it may set again.
        output: the file that is given what it prints.
        errors: the file that is given what it prints as errors; `output` too without it.
        port_flags: how the command is told its gRPC port and its REST port; without the latter it has none.
        outlives: whether it goes on when the terminal is closed.

    Attributes:
        grpc_port, rest_port: its ports.
        popen: the process.

    Example:
        >>> import sys, tempfile
        >>> from pathlib import Path
        >>> from tf_mlm.serving.server_process import ServerProcess
        >>> from tf_mlm.serving.errors import ServingError
        >>> command = [sys.executable, "-c", "exit('no model')"]
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     with ServerProcess(command, [], Path(directory, "log")) as server:
        ...         try:
        ...             server.wait()
        ...         except ServingError as error:
        ...             print(error.message)
        The server ended with status 1 instead of starting: no model
    """

    def __init__(
        self,
        command: Sequence[str],
        flags: Sequence[str],
        output: Path,
        errors: Path | None = None,
        *,
        port_flags: Sequence[str] = ("--port", "--rest_api_port"),
        outlives: bool = False,
    ) -> None:
        self.grpc_port, self.rest_port = free_ports(2)
        self._ports = (self.grpc_port, self.rest_port)[: len(port_flags)]
        self._errors = errors or output
        ports = [f"{flag}={port}" for flag, port in zip(port_flags, self._ports, strict=True)]
        with contextlib.ExitStack() as files:
            stdout = files.enter_context(output.open("wb"))
            stderr = files.enter_context(errors.open("wb")) if errors else subprocess.STDOUT
            self.popen = subprocess.Popen(
                [*command, *ports, *flags],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=outlives,
            )

    def wait(self, seconds: float = 300.0) -> None:
        """Returns once the ports are open, which is when every model has a version that answers.

        Raises:
            ServingError: UNAVAILABLE where it ended instead, DEADLINE_EXCEEDED after so many seconds, with
                the last that it printed.
        """
        deadline = time.monotonic() + seconds
        while not all(accepts(port) for port in self._ports):
            if self.popen.poll() is not None:
                status = f"The server ended with status {self.popen.returncode} instead of starting"
                raise ServingError(Code.UNAVAILABLE, f"{status}: {self._last_words()}")
            if time.monotonic() >= deadline:
                late = f"The server did not start within {seconds:g} seconds"
                raise ServingError(Code.DEADLINE_EXCEEDED, f"{late}: {self._last_words()}")
            time.sleep(0.05)

    def _last_words(self) -> str:
        return self._errors.read_text(errors="replace")[-_TAIL:].strip()

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM, and SIGKILL where requests in flight take longer than `seconds`; the exit status."""
        self.popen.terminate()
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def accepts(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
