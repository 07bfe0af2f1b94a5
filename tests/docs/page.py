"""Runs a page: its blocks one after the other, in one directory and one Python namespace."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

from reference.untraced import untraced

from docs.blocks import ROOT, Block
from docs.small import small_arguments, small_program
from tf_mlm.serving.server_process import accepts, free_ports

PORTS = ("8500", "8501", "8600")  # those that pages speak of
_LISTENING = {"serve": {"--port": 0, "--rest-port": 1}, "page": {"--port": 2}}
_SECONDS = 240.0
_SHELL = set("|><&;$`(")
_READERS = ("curl", "head")
"""Commands that change nothing for the lines behind them."""
_QUESTIONS = ("embed", "fill", "score")
"""Verbs that ask a model about a few texts."""
_NO_QUESTION = re.compile(r"\b(?:ModelServer|evaluate|export|train)\(|jit_compile|tf\.function")


class Page:
    """A directory to work in, variables, and the servers that were started.

    Blocks may speak of the ports 8500, 8501 and 8600; other ones, that are free, take their place.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ports = free_ports(len(PORTS))
        self._servers: list[subprocess.Popen[bytes]] = []
        # Dataclasses look their module up by its name.
        self._module = types.ModuleType("page")
        sys.modules["page"] = self._module

    def run(self, block: Block) -> None:
        """Runs a Python or shell block; an error names the line of the page."""
        text = block.text
        for port, free in zip(PORTS, self._ports, strict=True):
            text = text.replace(port, str(free))
        try:
            if block.language == "python":
                lines = "\n" * (block.line - 1)
                with untraced(not _NO_QUESTION.search(text)):
                    exec(compile(lines + small_program(text), str(block.page), "exec"), self._module.__dict__)
            else:
                self._shell(text)
        except SystemExit as end:
            if end.code:
                raise AssertionError(f"{block} ended with exit code {end.code}") from end

    def _shell(self, text: str) -> None:
        commands = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
        if not all(_is_plain(line) or line.split(maxsplit=1)[0] in _READERS for line in commands):
            self._bash(text)
            return
        for line in commands:
            if not _is_plain(line):
                self._bash(line)
                continue
            arguments = shlex.split(line, comments=True)[1:]
            if arguments and arguments[0] in _LISTENING:
                self._serve(arguments)
            elif arguments:
                _in_this_process(arguments)

    def _bash(self, text: str) -> None:
        """With a `tf-mlm` that makes its arguments small, wherever else there is one."""
        bin = self.directory / ".bin"
        bin.mkdir(exist_ok=True)
        program = bin / "tf-mlm"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m docs.small "$@"\n')
        program.chmod(0o755)
        curl = bin / "curl"
        curl.write_text(f'#!/bin/sh\nexec "{shutil.which("curl")}" --fail-with-body "$@"\n')
        curl.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": os.pathsep.join((str(bin), str(Path(sys.executable).parent), os.environ["PATH"])),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        print(done.stdout)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"

    def _serve(self, arguments: list[str]) -> None:
        ports = {option: self._ports[index] for option, index in _LISTENING[arguments[0]].items()}
        for option, port in ports.items():
            if option in arguments:
                ports[option] = int(arguments[arguments.index(option) + 1])
            else:
                arguments += [option, str(port)]
        server = subprocess.Popen(
            [sys.executable, "-m", "tf_mlm", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._servers.append(server)
        deadline = time.monotonic() + _SECONDS
        while not all(accepts(port) for port in ports.values()):
            assert server.poll() is None, f"tf-mlm {shlex.join(arguments)} ended with {server.returncode}"
            assert time.monotonic() < deadline, f"tf-mlm {shlex.join(arguments)} opened no ports"
            time.sleep(0.05)

    def close(self) -> None:
        """Stops what still runs."""
        del sys.modules["page"]
        for server in self._servers:
            server.send_signal(signal.SIGTERM)
        for server in self._servers:
            server.wait(60)


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Page]:
    """A page in a directory, closed at the end."""
    page = Page(directory)
    with contextlib.chdir(directory):
        try:
            yield page
        finally:
            page.close()


def _in_this_process(arguments: list[str]) -> None:
    from tf_mlm.cli import main

    expanded: list[str] = []
    for argument in arguments:
        files = sorted(glob.glob(argument)) if "*" in argument else []
        expanded += files or [argument]
    with untraced(arguments[0] in _QUESTIONS):  # tracing what is asked once takes longer
        main(small_arguments(expanded))


def _is_plain(line: str) -> bool:
    """Whether a line is a `tf-mlm` command, or a comment, that needs no shell."""
    first = line.split(maxsplit=1)[0]
    bare = " ".join(line.split('"')[::2])
    return first == "#" or (first == "tf-mlm" and not _SHELL & set(bare.split(" #")[0]))
