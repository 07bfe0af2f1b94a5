"""An export asked as a stock server would: `stock_session.py` in a process of its own, and its answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tf_mlm import signatures
from tf_mlm.config import Buckets

NAMES = [signature.name for signature in signatures.SIGNATURES]
PORTABLE = [name + signatures.PORTABLE for name in NAMES]
SMALL = Buckets(batch=(2,), length=(32,), masks=(4,))


def stock_session(directory: Path, **job: Any) -> dict[str, Any]:
    defaults = {"disable_xla": False, "rewrite": False, "dump": None, "warmup": False}
    defaults |= {"random_requests": 0, "signatures": []}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("stock_session.py")), str(directory)],
        input=json.dumps({**defaults, **job}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def assert_close(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for alias, value in one.items():
        if np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(value, other[alias], atol=1e-5, rtol=1e-4)
        else:
            assert value == other[alias]
