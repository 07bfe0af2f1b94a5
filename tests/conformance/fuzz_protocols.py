"""Generated REST requests and mutated protos against the embedded server with the suite's models."""

from __future__ import annotations

import base64
import http.client
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import hypothesis
import numpy as np

from conformance.fuzz_protos import proto_requests
from conformance.fuzz_rest import http_requests
from conformance.launcher import Launcher
from conformance.repository import Repository

HANG = 30.0  # seconds after which a request that is not answered counts as a hang
BATCHING = """
max_batch_size { value: 8 }
allowed_batch_sizes: 4
allowed_batch_sizes: 8
pad_variable_length_inputs: true
"""
CHECK_EVERY = 1000  # requests between checks that ordinary answers are still right


class Findings:
    """Outcomes by kind, and the requests that broke a rule: how many of each kind, and two examples."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self.examples: list[str] = []
        self.slowest = 0.0

    def outcome(self, kind: str, start: float) -> None:
        self.outcomes[kind] += 1
        self.slowest = max(self.slowest, time.monotonic() - start)

    def violation(self, kind: str, text: str) -> None:
        self.violations[kind] += 1
        if self.violations[kind] <= 2:
            self.examples.append(f"{kind}: {text}")


class RestSender:
    """Sends requests on a kept connection, which is opened again after an error."""

    def __init__(self, address: str, findings: Findings) -> None:
        host, port = address.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=HANG)
        self.findings = findings

    def __call__(self, request: tuple[str, str, dict[str, str], bytes]) -> None:
        method, path, fields, body = request
        start = time.monotonic()
        try:
            status, text = self.exchange(method, path, fields, body)
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            kind = f"no answer in {HANG} s" if isinstance(error, TimeoutError) else type(error).__name__
            self.findings.violation(kind, f"{error} for {method} {path} {fields} {body[:300]!r}")
            return
        self.findings.outcome(f"HTTP {status}", start)
        if not self.allowed(method, status, text):
            self.findings.violation(
                f"HTTP {status}", f"{method} {path} {fields} {body[:300]!r}: {text[:300]}"
            )
        elif path.startswith("/v1/") and status == 200 and method == "POST":
            json.loads(text)  # an answer is JSON, whatever was asked

    def exchange(self, method: str, path: str, fields: dict[str, str], body: bytes) -> tuple[int, str]:
        was_open = self.connection.sock is not None
        try:
            self.connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in fields.items():
                self.connection.putheader(name, value)
            self.connection.putheader("Content-Length", str(len(body)))
            self.connection.endheaders(body)
            reply = self.connection.getresponse()
            return reply.status, reply.read().decode(errors="replace")
        except (ConnectionError, http.client.RemoteDisconnected):
            self.connection.close()
            if was_open:  # the server may have closed it after the request before
                return self.exchange(method, path, fields, body)
            raise

    @staticmethod
    def allowed(method: str, status: int, text: str) -> bool:
        """5xx only where the contract has it: methods nobody speaks, and dtypes JSON cannot carry."""
        if status < 500:
            return True
        return status == 501 and (method in ("TRACE", "ODD") or "Conversion of JSON Value" in text)


class GrpcSender:
    """Sends ready-made bytes to a method."""

    def __init__(self, channel: Any, findings: Findings) -> None:
        self.channel = channel
        self.findings = findings

    def __call__(self, request: tuple[str, bytes]) -> None:
        method, data = request
        start = time.monotonic()
        try:
            self.channel.unary_unary(method)(data, timeout=HANG)
            code, details = "OK", ""
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
        self.findings.outcome(f"gRPC {code}", start)
        # INTERNAL is what gRPC itself says about bytes that are no message.
        undecodable = code == "INTERNAL" and "deserializing" in details
        if code in ("UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL") and not undecodable:
            text = base64.b64encode(data).decode()
            self.findings.violation(f"gRPC {code} {details[:30]}", f"{method} {text[:600]}: {details[:300]}")


def check_answers(server: Any) -> None:
    """Ordinary requests over both protocols."""
    answer = server.predict("half_plus_two", {"x": np.array([2.0, 3.0], np.float32)})["y"]
    assert answer.tolist() == [3.0, 3.5], f"gRPC answered {answer}"
    reply = server.post("/v1/models/half_plus_two:predict", {"instances": [2.0, 3.0]})
    assert (reply.status, reply.json) == (200, {"predictions": [3.0, 3.5]}), f"REST answered {reply}"
    assert server.states("counter") == dict.fromkeys((3, 2, 1, 0), "AVAILABLE"), server.states("counter")


def drive(
    strategy: Any, send: Callable[[Any], None], count: int, seed: int, process: Any, findings: Findings
) -> int:
    """Sends `count` generated requests, none once the server is gone. Returns the number sent."""
    sent = 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],  # a finding is kept and the run goes on: nothing to shrink
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def run(request: Any) -> None:
        nonlocal sent
        if process.popen.poll() is not None:
            return
        sent += 1
        try:
            send(request)
            if sent % CHECK_EVERY == 0:
                check_answers(process)
        except Exception as error:
            findings.violation(type(error).__name__, f"{str(error)[:300]} after {repr(request)[:600]}")
        if process.popen.poll() is not None:
            findings.violation("the server ended", f"{process.popen.returncode} after {repr(request)[:600]}")

    run()
    return sent


def fuzz(count: int, seed: int, batching: bool, directory: Path) -> dict[str, Any]:
    """Starts a server, sends it everything, and returns the figures."""
    findings = Findings()
    repository = Repository(directory / "models").write()
    launcher = Launcher([sys.executable, "-m", "tf_mlm.serving.model_server"], repository)
    try:
        flags = repository.standard_flags
        if batching:
            file = launcher.file(BATCHING, "batching.config")
            flags = [*flags, "--enable_batching", f"--batching_parameters_file={file}"]
        process = launcher.shared("fuzz", lambda: flags)
        start = time.monotonic()
        rest = RestSender(process.rest_address, findings)
        rest_sent = drive(http_requests, rest, count, seed, process, findings)
        protos_sent = drive(
            proto_requests(), GrpcSender(process.channel, findings), count, seed, process, findings
        )
        alive = process.popen.poll() is None
        right = False
        if alive:
            check_answers(process)
            right = True
        else:
            print(process.stderr[-3000:], file=sys.stderr)
    finally:
        launcher.close()
    return {
        "REST requests": rest_sent,
        "protos": protos_sent,
        "seconds": round(time.monotonic() - start, 1),
        "slowest answer, seconds": round(findings.slowest, 3),
        "alive at the end": alive,
        "right answers at the end": right,
        "outcomes": dict(sorted(findings.outcomes.items())),
        "violations": dict(findings.violations),
        "examples": findings.examples,
    }
