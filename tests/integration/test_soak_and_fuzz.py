"""Short runs of `tools/soak` and `tools/fuzz`; by default the tools themselves run for minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).parents[2] / "tools"


def run(tmp_path: Path, *command: str) -> dict[str, Any]:
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, str(TOOLS / command[0]), *command[1:], f"--json={file}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(file.read_text())


def test_no_request_fails_while_models_change(tmp_path: Path) -> None:
    figures = run(
        tmp_path,
        *("soak", "--duration=10", "--clients=8", "--swap-every=2.5", "--reload-every=2", "--growth=0.25"),
    )
    assert figures["failed or wrong"] == 0
    assert figures["swaps"] >= 2
    assert figures["reloads"] >= 2
    for kind in ("gRPC good", "gRPC malformed", "REST good", "REST malformed"):
        assert figures[kind] > 10, kind


def test_no_request_brings_the_server_down(tmp_path: Path) -> None:
    figures = run(tmp_path, "fuzz", "--count=400")
    assert figures["violations"] == {}
    assert figures["REST requests"] == figures["protos"] == 400
    outcomes = figures["outcomes"]
    for kind in ("HTTP 200", "HTTP 400", "HTTP 404", "gRPC OK", "gRPC INVALID_ARGUMENT", "gRPC NOT_FOUND"):
        assert outcomes[kind] > 5, kind


def test_random_requests_depend_on_the_seed_only() -> None:
    script = (
        "import hypothesis, hashlib, sys\n"
        "from conformance.fuzz_rest import http_requests\n"
        "digest = hashlib.sha256()\n"
        "@hypothesis.seed(int(sys.argv[1]))\n"
        "@hypothesis.settings(max_examples=50, database=None, phases=[hypothesis.Phase.generate])\n"
        "@hypothesis.given(http_requests)\n"
        "def run(request): digest.update(repr(request).encode())\n"
        "run(); print(digest.hexdigest())\n"
    )

    def digest(seed: int) -> str:
        command = [sys.executable, "-c", script, str(seed)]
        return subprocess.check_output(command, cwd=TOOLS.parent / "tests", text=True).strip()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)
