"""Sends the tensors of `fuzz_shapes` to an export of ours, several at a time, and outlives the server."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from conformance import fuzz_shapes, tiny_export
from conformance.attacks.site import MEMORY_LIMIT, PREDICT, Target, ended_by, started
from conformance.fuzz_protocols import BATCHING, HANG
from conformance.fuzz_shapes import MODEL, Request
from tf_mlm.signatures import SIGNATURES

SENDERS = 8
CHECK_EVERY = 50  # requests of a sender between checks that ordinary answers are still right
SAY_EVERY = 5000  # requests between lines that say how far it is
MOST_DEATHS = 20  # of the server, after which there is nothing more to learn
MOST_TRIES = 12  # restarts spent on making a request that ended the server smaller
MOST_SECONDS = HANG / 2  # the server's own limit: work for longer ends there, and is answered so
# What the contract has for these requests: too much of it, no such signature, and the bounds by name.
GRPC_ALLOWED = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
HTTP_ALLOWED = {200, 400, 413, 429, 504}


@dataclasses.dataclass(frozen=True)
class Reproducer:
    """A request after which the server was gone, made smaller as far as that went."""

    how: str
    request: Request

    def __str__(self) -> str:
        data = base64.b64encode(self.request.data()).decode()
        return f"{self.how} after {self.request}\n  base64 of its bytes: {data[:1500]}"


class Findings:
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self.examples: list[str] = []
        self.reproducers: list[Reproducer] = []
        self.slowest = 0.0
        self.lock = threading.Lock()

    def outcome(self, kind: str, seconds: float) -> None:
        with self.lock:
            self.outcomes[kind] += 1
            self.slowest = max(self.slowest, seconds)

    def violation(self, kind: str, text: str) -> None:
        with self.lock:
            self.violations[kind] += 1
            if self.violations[kind] <= 3:
                self.examples.append(f"{kind}: {text}")


class Sender:
    """One connection of each protocol."""

    def __init__(self, target: Target, right: Answers, findings: Findings) -> None:
        self.findings, self.right = findings, right
        self.http = http.client.HTTPConnection("127.0.0.1", target.rest_port, timeout=HANG)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        self.channel = grpc.insecure_channel(target.grpc_address, options)
        self.predict = self.channel.unary_unary(PREDICT)

    def send(self, request: Request) -> None:
        """Raises OSError or `grpc.RpcError` (UNAVAILABLE) where the server may have gone."""
        start = time.monotonic()
        if request.form == "gRPC":
            self.send_grpc(request, start)
        else:
            self.send_rest(request, start)

    def send_grpc(self, request: Request, start: float) -> None:
        code, details = "OK", ""
        try:
            self.predict(request.data(), timeout=HANG)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            if code == "UNAVAILABLE":
                raise
        seconds = time.monotonic() - start
        self.findings.outcome(f"gRPC {code}", seconds)
        is_hang = seconds >= HANG - 1
        if is_hang or code not in GRPC_ALLOWED:
            kind = "no answer" if is_hang else f"gRPC {code} {details[:40]}"
            self.findings.violation(kind, f"{request}: {details[:300]}")

    def send_rest(self, request: Request, start: float) -> None:
        body = request.data()
        try:
            status, text = self.post(body)
        except (http.client.RemoteDisconnected, ConnectionError):
            self.http.close()  # an idle connection may be closed at any time; a server that lives answers now
            status, text = self.post(body)
        seconds = time.monotonic() - start
        self.findings.outcome(f"HTTP {status}", seconds)
        conversion = status == 501 and "Conversion of JSON Value" in text
        if status not in HTTP_ALLOWED and not conversion:
            self.findings.violation(f"HTTP {status}", f"{request}: {text[:300]}")

    def post(self, body: bytes) -> tuple[int, str]:
        try:
            self.http.request("POST", f"/v1/models/{MODEL}:predict", body)
            reply = self.http.getresponse()
            return reply.status, reply.read().decode(errors="replace")
        except BaseException:
            self.http.close()
            raise

    def check(self) -> None:
        """Ordinary questions get the answers they got from the fresh server."""
        for question, answer in self.right.known:
            if question.form == "gRPC":
                given: Any = self.predict(question.data(), timeout=HANG)
            else:
                given = self.post(question.data())[1].encode()
            if given != answer:
                self.findings.violation(
                    "a wrong answer", f"{question}: {given[:200]!r}, not {answer[:200]!r}"
                )

    def close(self) -> None:
        self.http.close()
        self.channel.close()


class Answers:
    """Ordinary questions with the bytes that a fresh server answers."""

    def __init__(self, target: Target) -> None:
        text = fuzz_shapes.Tensor(fuzz_shapes.DTYPES["string"], (1,), (b"the [MASK] sat on a mat .",))
        batch = fuzz_shapes.Tensor(fuzz_shapes.DTYPES["string"], (2,), (b"the [MASK] sat", b"a [MASK] ran ,"))
        asked = [
            Request(-1, form, name, {"text": tensor})
            for form in ("gRPC", "instances")
            for name in ("", "tokenize", "encode")
            for tensor in (text, batch)
        ]
        sender = Sender(target, self, Findings())
        self.known: list[tuple[Request, bytes]] = []
        for question in asked:
            if question.form == "gRPC":
                answer = sender.predict(question.data(), timeout=HANG)
            else:
                status, reply = sender.post(question.data())
                assert status == 200, reply
                answer = reply.encode()
            self.known.append((question, answer))
        sender.close()
        assert np.unique([len(answer) for _, answer in self.known]).size > 1  # they do say something


class Campaign:
    """All requests, over as many servers as it takes."""

    def __init__(self, start: Callable[[], Target], count: int, seed: int, xla: bool) -> None:
        self.start, self.count, self.seed, self.xla = start, count, seed, xla
        self.findings = Findings()
        self.deaths = 0
        self.sent = 0

    def run(self) -> bool:
        """Whether the server that is there at the end answers rightly."""
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(self.count):
            todo.put(number)
        while True:
            target = self.start()
            try:
                right = Answers(target)
                suspects = self.drive(target, right, todo)
                if target.is_alive and not suspects:
                    before = self.findings.violations["a wrong answer"]
                    sender = Sender(target, right, self.findings)
                    sender.check()
                    sender.close()
                    return self.findings.violations["a wrong answer"] == before
                how = self.how(target)
            finally:
                target.stop()
            self.deaths += 1
            self.findings.violation(
                "the server ended", f"{', '.join(map(str, suspects))[:600]} in flight; {how}"
            )
            self.convict(suspects, how)
            if self.deaths >= MOST_DEATHS:
                return False

    @staticmethod
    def how(target: Target) -> str:
        target.popen.wait(HANG)
        if target.watch.killed:
            return f"killed above {MEMORY_LIMIT / 2**30:g} GiB"
        # What C++ had to say stands before Python's stacks.
        said, fatal, stacks = target.stderr.partition("Fatal Python error")
        details = f"; {said[-1500:]}{fatal}{stacks[:6000]}" if fatal else ""
        return ended_by(target.popen.returncode) + details

    def drive(self, target: Target, right: Answers, todo: queue.SimpleQueue[int]) -> list[Request]:
        """Sends until all is sent or the server has gone. Returns what was on its way then."""
        suspects: list[Request] = []
        gone = threading.Event()

        def work() -> None:
            sender = Sender(target, right, self.findings)
            try:
                for turn in range(self.count):
                    try:
                        number = todo.get_nowait()
                    except queue.Empty:
                        return
                    if gone.is_set():
                        todo.put(number)
                        return
                    request = fuzz_shapes.request(self.seed, number, self.xla)
                    try:
                        self.sent += 1
                        if self.sent % SAY_EVERY == 0:
                            print(f"  {self.sent:,} sent, {self.deaths} crashes", file=sys.stderr, flush=True)
                        sender.send(request)
                        if turn % CHECK_EVERY == 0:
                            sender.check()
                    except (OSError, http.client.HTTPException, grpc.RpcError) as error:
                        if self.has_gone(target):
                            suspects.append(request)
                            gone.set()
                            return
                        self.findings.violation(type(error).__name__, f"{request}: {error}"[:600])
            finally:
                sender.close()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return suspects

    @staticmethod
    def has_gone(target: Target) -> bool:
        """A process that crashes is dead a moment after its connections are."""
        end = time.monotonic() + 3
        while target.is_alive and time.monotonic() < end:
            time.sleep(0.05)
        return not target.is_alive

    def convict(self, suspects: list[Request], how: str) -> None:
        """Finds which request it was, and a smaller one that does the same, on servers of their own."""
        for suspect in suspects:
            if (again := self.kills(suspect)) is not None:
                print(f"  found: {again} after {suspect}", file=sys.stderr)
                is_new = not any(r.request.signature == suspect.signature for r in self.findings.reproducers)
                smallest = self.reduced(suspect) if is_new else suspect
                self.findings.reproducers.append(Reproducer(again, smallest))
                return
        self.findings.examples.append(f"none of the requests in flight ends the server ({how}) by itself")

    def kills(self, request: Request) -> str | None:
        """How a fresh server ends after this request alone, `None` where it lives."""
        target = self.start()
        try:
            sender = Sender(target, Answers(target), Findings())
            try:
                sender.send(request)
            except (OSError, http.client.HTTPException, grpc.RpcError):
                if self.has_gone(target):
                    return self.how(target)
            finally:
                sender.close()
            return None
        finally:
            target.stop()

    def reduced(self, request: Request) -> Request:
        tries, candidates = 0, fuzz_shapes.smaller(request)
        while candidates and tries < MOST_TRIES:
            tries += 1
            candidate = candidates.pop(0)
            if self.kills(candidate) is not None:
                request, candidates = candidate, fuzz_shapes.smaller(candidate)
        return request


def fuzz(kind: str, count: int, seed: int, batching: bool, directory: Path) -> dict[str, Any]:
    """Exports, serves, sends everything, and returns the figures.

    Args:
        kind: `xla` or `no-xla`.
    """
    xla = kind == "xla"
    base_path = directory / MODEL
    tiny_export.write(base_path, xla)
    command = [sys.executable, "-m", "tf_mlm.serving.model_server"]
    flags = [f"--model_name={MODEL}", f"--model_base_path={base_path}"]
    flags += [f"--max_request_seconds={MOST_SECONDS}", f"--rest_api_timeout_in_ms={int(1000 * MOST_SECONDS)}"]
    if batching:
        (directory / "batching.config").write_text(BATCHING)
        flags += ["--enable_batching", f"--batching_parameters_file={directory / 'batching.config'}"]

    def start() -> Target:
        return started(command, flags, directory)

    campaign = Campaign(start, count, seed, xla)
    begin = time.monotonic()
    right = campaign.run()
    findings = campaign.findings
    hangs = findings.violations["no answer"]
    return {
        "export": f"with XLA, {len(SIGNATURES)} signatures and their twins" if xla else "without XLA",
        "requests": campaign.sent,
        "crashes": campaign.deaths,
        "hangs": hangs,
        "seconds": round(time.monotonic() - begin, 1),
        "slowest answer, seconds": round(findings.slowest, 3),
        "right answers at the end": right,
        "outcomes": dict(sorted(findings.outcomes.items())),
        "violations": {kind: n for kind, n in findings.violations.items() if n},
        "examples": [*findings.examples, *map(str, findings.reproducers)],
    }
