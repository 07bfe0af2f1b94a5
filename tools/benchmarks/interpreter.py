"""A part of a benchmark in an interpreter of its own, where nothing ran before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def call(function: str, *arguments: str | int, flags: str = "") -> Any:
    """Calls `package.module.function` in a new interpreter that finds the modules which this one finds.

    Args:
        function: its whole name; it prints its answer as one line of JSON.
        arguments: what it is called with.
        flags: for XLA's bridge, `TF_XLA_FLAGS`.

    Returns:
        The answer.

    Example:
        >>> call("benchmarks.interpreter.echo", "here", 1)
        ['here', 1]
    """
    module, _, name = function.rpartition(".")
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import {name}; {name}(*{arguments!r})"],
        check=True,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_XLA_FLAGS": flags,
        },
    )
    return json.loads(done.stdout.splitlines()[-1])


def echo(*arguments: str | int) -> None:
    """Prints what it is given."""
    print(json.dumps(arguments))
