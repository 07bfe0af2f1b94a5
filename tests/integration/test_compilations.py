"""`tools/compilations`: after "ready" there is nothing left to compile. `test_every_signature` counts too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "compilations"


@pytest.mark.slow
def test_requests_after_ready_compile_nothing(tiny_export: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), str(tiny_export.parent), "--requests", "70", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "programs": 18,
        "compiled_before_ready": 18,
        "requests": 70,
        "compiled_by_requests": 0,
    }
