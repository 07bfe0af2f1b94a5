"""Clients that know the right answer to everything they ask, and what the malformed ones must be told."""

from __future__ import annotations

import dataclasses
import random
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Protocol

import grpc
import httpx
import numpy as np
import tensorflow as tf

from conformance import models_tf1
from conformance.server import Server, model_spec


class LiveModel:
    """The hot-swapped model: version v answers x + v. Knows which versions may answer at any moment.

    All `versions` are written beforehand, so that publishing one takes no time from the clients.
    """

    def __init__(self, base: Path, versions: int) -> None:
        self.base = base
        self.newest = 0
        for version in range(1, versions + 1):
            models_tf1.write(base / f"ready-{version}", models_tf1.add_constant(float(version)))
        self.publish()

    def publish(self) -> None:
        """Puts the next version there in one step, and takes away all but the last two."""
        version = self.newest + 1
        self.newest = version  # before it appears: from here on it may answer
        (self.base / f"ready-{version}").rename(self.base / str(version))
        for old in self.base.iterdir():
            if old.name.isdigit() and int(old.name) < version - 1:
                shutil.rmtree(old)

    def check(self, differences: Any, oldest: int) -> int:
        """The one version that gave these answers minus their inputs, `oldest` or newer."""
        seen = {float(value) for value in differences}
        assert len(seen) == 1, f"one request was answered by several versions: {seen}"
        version = seen.pop()
        assert version.is_integer(), f"no version gives {version}"
        assert oldest <= version <= self.newest, f"version {version} answered, {oldest} to {self.newest} may"
        return int(version)


@dataclasses.dataclass
class Tally:
    """What the clients saw. The first failures keep their texts.

    Attributes:
        answers: when each request was sent on the monotonic clock, and how many seconds it took.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    answers: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    failed: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def good(self, kind: str, start: float) -> None:
        seconds = time.monotonic() - start
        with self.lock:
            self.counts[kind] += 1
            self.answers.append((start, seconds))

    def bad(self, kind: str, text: str) -> None:
        with self.lock:
            self.failed += 1
            if len(self.failures) < 10:
                self.failures.append(f"{kind}: {' '.join(text.split())[:400]}")


class Asker(Protocol):
    """One way into the server. Every method raises AssertionError for an answer that is not right."""

    name: str

    def good(self, rng: random.Random) -> None: ...

    def malformed(self, rng: random.Random) -> None: ...

    def close(self) -> None: ...


def inputs(rng: random.Random) -> list[float]:
    return [float(rng.randint(-1000, 1000)) for _ in range(rng.choice((1, 1, 1, 2, 5)))]


class GrpcDoor:
    """Predict on a channel of its own (channels with equal arguments would share one connection)."""

    name = "gRPC"
    # model, signature, inputs, status code
    MALFORMED: ClassVar[tuple[tuple[str, str, Any, Any], ...]] = (
        ("nobody", "", {"x": [1.0]}, "NOT_FOUND"),
        ("live", "nothing", {"x": [1.0]}, "FAILED_PRECONDITION"),
        ("live", "", {"y": [1.0]}, "INVALID_ARGUMENT"),
        ("live", "", {}, "INVALID_ARGUMENT"),
        ("half_plus_two", "", {"x": [1]}, "INVALID_ARGUMENT"),
    )

    def __init__(self, grpc_address: str, live: LiveModel) -> None:
        self.server = Server(grpc_address, "", options=[("grpc.use_local_subchannel_pool", 1)])
        self.live = live
        self.oldest = 1

    def good(self, rng: random.Random) -> None:
        x = np.asarray(inputs(rng), np.float32)
        if rng.random() < 0.5:
            response = self.server.predict_protos(model_spec("live"), {"x": tf.make_tensor_proto(x)})
            version = self.live.check(tf.make_ndarray(response.outputs["y"]) - x, self.oldest)
            named = response.model_spec.version.value
            assert named == version, f"version {version} answered, the response says {named}"
            self.oldest = version  # a client never goes back to an older version
        else:
            answer = self.server.predict("half_plus_two", {"x": x})["y"]
            assert np.array_equal(answer, 0.5 * x + 2), f"half_plus_two of {x} gave {answer}"

    def malformed(self, rng: random.Random) -> None:
        model, signature, tensors, code = rng.choice(self.MALFORMED)
        received = "OK"
        try:
            self.server.predict(model, tensors, signature=signature)
        except grpc.RpcError as error:
            received = error.code().name
        assert received == code, f"{model} {signature} {tensors}: expected {code}, got {received}"

    def close(self) -> None:
        self.server.close()


class RestDoor:
    """POSTs on a kept connection."""

    name = "REST"
    # method, path, body, HTTP status
    MALFORMED: ClassVar[tuple[tuple[str, str, Any, Any], ...]] = (
        ("POST", "/v1/models/live:predict", b"{", 400),
        ("POST", "/v1/models/live:predict", b'{"instances": ["a"]}', 400),
        ("POST", "/v1/models/live:predict", b'{"inputs": {}}', 400),
        ("POST", "/v1/models/nobody:predict", b'{"instances": [1.0]}', 404),
        ("POST", "/v1/models/live/versions/0:predict", b'{"instances": [1.0]}', 404),
        ("PUT", "/v1/models/live", b"", 400),
        ("GET", "/v1/models/nobody", b"", 404),
    )

    def __init__(self, rest_address: str, live: LiveModel) -> None:
        self.http = httpx.Client(base_url=f"http://{rest_address}/v1/models", timeout=30, trust_env=False)
        self.live = live
        self.oldest = 1

    def post(self, path: str, body: Any) -> Any:
        reply = self.http.post(path, json=body)
        assert reply.status_code == 200, f"{path}: {reply.status_code} {reply.text[:300]}"
        return reply.json()

    def good(self, rng: random.Random) -> None:
        x = inputs(rng)
        kind = rng.randrange(3)
        if kind == 0:
            answer = self.post("/live:predict", {"instances": x})["predictions"]
            differences = [y - value for y, value in zip(answer, x, strict=True)]
            self.oldest = self.live.check(differences, self.oldest)
        elif kind == 1:
            answer = self.post("/half_plus_two:predict", {"inputs": x})
            assert answer == {"outputs": [0.5 * value + 2 for value in x]}, f"{x} gave {answer}"
        else:
            texts = [f"text {value} ä" for value in x]
            answer = self.post("/strings:predict", {"signature_name": "plain", "instances": texts})
            assert answer == {"predictions": texts}, f"{texts} gave {answer}"

    def malformed(self, rng: random.Random) -> None:
        method, path, body, status = rng.choice(self.MALFORMED)
        reply = self.http.request(method, self.http.base_url.copy_with(path=path), content=body)
        received = reply.status_code
        assert received == status, (
            f"{method} {path} {body!r}: expected {status}, got {received} {reply.text[:200]}"
        )

    def close(self) -> None:
        self.http.close()


def ask_until(end: float, asker: Asker, rng: random.Random, share: float, tally: Tally) -> None:
    """One request after the other until the monotonic clock reads `end`; `share` of them malformed."""
    while time.monotonic() < end:
        is_malformed = rng.random() < share
        kind = f"{asker.name} {'malformed' if is_malformed else 'good'}"
        start = time.monotonic()
        try:
            (asker.malformed if is_malformed else asker.good)(rng)
        except AssertionError as error:
            tally.bad(f"{kind}, wrong answer", str(error))
        except Exception as error:
            tally.bad(f"{kind}, failed", f"{type(error).__name__}: {error}")
        else:
            tally.good(kind, start)
