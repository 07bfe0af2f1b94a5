"""An export asked as a stock server would: `stock_session.py` in a process of its own, and its answers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tf_mlm import signatures
from tf_mlm.config import Buckets

NAMES = [signature.name for signature in signatures.SIGNATURES]
PORTABLE = [name + signatures.PORTABLE for name in NAMES]
SMALL = Buckets(batch=(2,), length=(32,), masks=(4,))

StockSession = Callable[..., dict[str, Any]]
"""`ask(version_directory, **job)` → what `stock_session.py` answers, each time in a session of its own."""


@contextlib.contextmanager
def stock_process(*switches: str) -> Iterator[StockSession]:
    """One process for several jobs: it takes longer to import TensorFlow than to load an export."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("stock_session.py")), *switches],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(directory: Path, **job: Any) -> dict[str, Any]:
            defaults = {"rewrite": False, "warmup": False, "random_requests": 0, "signatures": []}
            print(
                json.dumps({"directory": str(directory), **defaults, **job}), file=process.stdin, flush=True
            )
            line = process.stdout.readline()
            if not line:
                errors.seek(0)
                raise AssertionError(f"died of {process.wait()}: {errors.read()[-3000:]}")
            return json.loads(line)

        try:
            yield ask
        finally:
            process.kill()
            process.communicate()


def assert_close(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for alias, value in one.items():
        if np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(value, other[alias], atol=1e-5, rtol=1e-4)
        else:
            assert value == other[alias]
