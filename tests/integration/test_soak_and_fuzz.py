"""Short runs of `tools/soak` and `tools/fuzz`; by default the tools themselves run for minutes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conformance.soak_clients import LiveModel, Tally, ask_until

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
        *(
            "soak",
            "--duration=5",
            "--clients=4",
            "--swap-every=2",
            "--reload-every=1.5",
            "--nuisances=6",
            "--growth=0.25",
        ),
        "--slowdown=10",  # few requests, and machines that do other things beside
    )
    assert figures["failed or wrong"] == 0
    assert figures["swaps"] >= 2
    assert 0 < figures["p99 in a swap over p99 elsewhere"] < 10
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


def test_the_clients_notice_wrong_answers(tmp_path: Path) -> None:
    live = LiveModel(tmp_path / "live", versions=3)
    live.publish()
    assert live.check([2.0, 2.0], oldest=1) == 2
    for differences, oldest in (([1.0, 2.0], 1), ([3.0], 1), ([1.0], 2), ([1.5], 1)):
        with pytest.raises(AssertionError):
            live.check(differences, oldest)
    assert [path.name for path in sorted((tmp_path / "live").iterdir())] == ["1", "2", "ready-3"]
    live.publish()
    assert [path.name for path in sorted((tmp_path / "live").iterdir())] == ["2", "3"]


def test_failures_are_counted_by_what_went_wrong() -> None:
    class Broken:
        name = "gRPC"

        def good(self, rng: random.Random) -> None:
            raise AssertionError("wrong answer")

        def malformed(self, rng: random.Random) -> None:
            raise ConnectionError("gone")

        def close(self) -> None:
            pass

    tally = Tally()
    ask_until(time.monotonic() + 0.05, Broken(), random.Random(0), 0.5, tally)
    assert tally.failed > 2
    assert not tally.counts
    assert {text.split(":")[0] for text in tally.failures} == {
        "gRPC good, wrong answer",
        "gRPC malformed, failed",
    }
