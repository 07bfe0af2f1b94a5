"""Where an attack happens: a server process under watch, an ordinary client beside it, and ways to hit it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from conformance.attacks.attack import FORBIDDEN_CODES, FORBIDDEN_STATUSES
from conformance.attacks.models import configuration
from conformance.attacks.ordinary import Questions, Sample
from conformance.attacks.watch import Watch
from conformance.launcher import Process
from conformance.server import model_spec

PREDICT = "/tensorflow.serving.PredictionService/Predict"
HANG = 30.0  # seconds after which a request of the attack that is not answered counts as a hang
STARTING = 600.0  # seconds a server may take to start; the machine may be busy
MEMORY_LIMIT = 3 * 2**30
# What an ordinary process may open; more than a server may rely on would hide that it runs out.
OPEN_FILES = 1024
ELSEWHERE = "127.0.0.2"  # on loopback every address is one's own: attackers can come from another one
BATCHING = """
max_batch_size { value: 16 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 1000 }
pad_variable_length_inputs: true
"""


class Target(Process):
    """The server: `Process`, with an ordinary process's limits and its memory under watch."""

    def __init__(
        self, command: Sequence[str], flags: Sequence[str], directory: Path, memory_limit: int = MEMORY_LIMIT
    ) -> None:
        limited = ["prlimit", f"--nofile={OPEN_FILES}:{OPEN_FILES}", *command]
        super().__init__(limited, flags, directory)
        self.watch = Watch(self.popen.pid, memory_limit)

    @property
    def command(self) -> list[str]:
        """Its command line, which starts another one like it."""
        return [str(part) for part in self.popen.args]  # type: ignore[union-attr]

    @property
    def is_alive(self) -> bool:
        return self.popen.poll() is None

    def end(self, timeout: float) -> tuple[int | None, float]:
        """SIGTERM: the exit status, `None` where it took longer than `timeout`, and the seconds it took."""
        start = time.monotonic()
        self.popen.terminate()
        try:
            return self.popen.wait(timeout), time.monotonic() - start
        except subprocess.TimeoutExpired:
            return None, time.monotonic() - start

    def stop(self) -> None:
        self.watch.close()
        if self.is_alive:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(3)
        if self.is_alive:
            self.popen.kill()
        super().stop()


class Client:
    """The ordinary client's process; `samples` holds its answers so far."""

    def __init__(self, target: Target, rate: float, patience: float) -> None:
        x = np.array([2.0, 3.0], np.float32)
        request = predict_pb2.PredictRequest(model_spec=model_spec("half_plus_two"))
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
        data = request.SerializeToString()
        answer = target.channel.unary_unary(PREDICT)(data, timeout=HANG)
        outputs = predict_pb2.PredictResponse.FromString(answer).outputs
        assert tf.make_ndarray(outputs["y"]).tolist() == [3.0, 3.5], outputs
        questions = Questions(
            target.grpc_address,
            target.rest_address,
            PREDICT,
            base64.b64encode(data).decode(),
            base64.b64encode(answer).decode(),
            "/v1/models/half_plus_two:predict",
            '{"instances": [2.0, 3.0]}',
            '{\n    "predictions": [3.0, 3.5\n    ]\n}',
            rate,
            patience,
        )
        self.samples: list[Sample] = []
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "conformance.attacks.ordinary"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            start_new_session=True,  # Linux shares cores by session: as if on another machine
        )
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(vars(questions)) + "\n")
        self._popen.stdin.flush()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self.samples.append(Sample(**json.loads(line)))

    def close(self) -> None:
        """No more questions; waits for the answers to those that are out."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._thread.join(2 * HANG)
        self._popen.kill()
        self._popen.wait()


class Site:
    """What an attack gets: the addresses, how long it should last, and ways to send and to judge.

    Attributes:
        target: the server under attack.
        seconds: how long an attack that could go on for ever lasts.
        scale: the share of an attack's requests to send (1.0: all that are spoken of).
        answers: how the attack's own requests were answered.
        violations: rules that an answer broke.
    """

    def __init__(
        self, target: Target | None, seconds: float, scale: float, start: Callable[..., Target]
    ) -> None:
        self._target = target
        self.seconds, self.scale = seconds, scale
        self.answers: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self._start = start
        self._lock = threading.Lock()

    @property
    def target(self) -> Target:
        assert self._target is not None, "this attack starts its own servers"
        return self._target

    @property
    def is_over(self) -> bool:
        """Whether the server under attack has gone."""
        return self._target is not None and not self._target.is_alive

    # ---- judging -------------------------------------------------------------------------------

    def answered(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1

    def violated(self, text: str) -> None:
        with self._lock:
            self.violations[" ".join(text.split())[:400]] += 1

    def expect(self, right: bool, text: str) -> None:
        if not right:
            self.violated(text)

    # ---- sending -------------------------------------------------------------------------------

    def many(self, number: int) -> int:
        """A number of requests or connections, scaled down for a quick run."""
        return max(2, math.ceil(number * self.scale))

    def call(
        self,
        method: str,
        data: bytes,
        timeout: float = HANG,
        channel: grpc.Channel | None = None,
        **options: Any,
    ) -> str:
        """One gRPC call with ready-made bytes: the name of the status code."""
        start = time.monotonic()
        details = ""
        try:
            (channel or self.target.channel).unary_unary(method)(data, timeout=timeout, **options)
            code = "OK"
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
        if code == "DEADLINE_EXCEEDED" and time.monotonic() - start >= timeout - 0.1 and timeout >= HANG:
            self.violated(f"no answer in {timeout:g} s to {method} of {len(data):,} bytes")
        undecodable = code == "INTERNAL" and ("serializing" in details or "decompress" in details)
        if code in FORBIDDEN_CODES and not undecodable:
            self.violated(f"gRPC {code}: {details[:200]} to {method} of {len(data):,} bytes")
        self.answered(f"gRPC {code}")
        return code

    def predict(
        self,
        model: str,
        inputs: dict[str, Any],
        signature: str = "",
        timeout: float = HANG,
        channel: grpc.Channel | None = None,
        **options: Any,
    ) -> str:
        """Predict with `TensorProto`s or what `tf.make_tensor_proto` takes."""
        request = predict_pb2.PredictRequest(model_spec=model_spec(model, signature))
        for alias, value in inputs.items():
            proto = value if hasattr(value, "tensor_shape") else tf.make_tensor_proto(value)
            request.inputs[alias].CopyFrom(proto)
        return self.call(PREDICT, request.SerializeToString(), timeout, channel, **options)

    def http(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = HANG,
    ) -> int:
        """One request on a fresh connection: the status, 0 where the server closed without an answer."""
        host, port = self.target.rest_address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        size = len(body or b"")
        try:
            # Refused while it is being sent, its answer may be there all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace")
        except TimeoutError:
            self.violated(f"no answer in {timeout:g} s to {method} {path[:80]} of {size:,} bytes")
            return 0
        except (OSError, http.client.HTTPException) as error:
            self.answered(f"HTTP {type(error).__name__}")
            return 0
        finally:
            connection.close()
        if reply.status in FORBIDDEN_STATUSES:
            self.violated(f"HTTP {reply.status}: {text[:200]} to {method} {path[:80]} of {size:,} bytes")
        self.answered(f"HTTP {reply.status}")
        return reply.status

    def post(self, model: str, body: Any, verb: str = "predict", **options: Any) -> int:
        """POST to a model; anything but bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http("POST", f"/v1/models/{model}:{verb}", data, **options)

    def connect(self, port: str, source: str = ELSEWHERE, timeout: float = HANG) -> socket.socket:
        """A socket to the `grpc` or `rest` port."""
        number = self.target.grpc_port if port == "grpc" else self.target.rest_port
        return socket.create_connection(("127.0.0.1", number), timeout, source_address=(source, 0))

    def together(self, count: int, work: Callable[[int], object]) -> None:
        """Runs `work(0)` … `work(count - 1)` on a thread each, and waits for all."""
        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG + self.seconds)
        self.expect(not any(thread.is_alive() for thread in threads), "requests of the attack hang")

    def until_over(self, every: float = 0.0) -> Iterator[int]:
        """Counts up for `seconds`, with pauses of `every`; the attacker leaves the server its cores."""
        end, number = time.monotonic() + self.seconds, 0
        while time.monotonic() < end:
            yield number
            number += 1
            time.sleep(every)

    @contextlib.contextmanager
    def own_server(self, *flags: str) -> Iterator[Site]:
        """A server for this attack alone, ready to answer; answers and violations are counted here."""
        target = self._start(*flags)
        own = Site(target, self.seconds, self.scale, self._start)
        own.answers, own.violations, own._lock = self.answers, self.violations, self._lock
        try:
            yield own
        finally:
            target.stop()


def allow_open_files(number: int = 8192) -> None:
    """An attacker needs thousands of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def starter(command: Sequence[str], directory_of_models: Path, directory: Path) -> Callable[..., Target]:
    """A function that starts servers on the models of a directory and waits until they are ready."""
    monitoring = directory / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }\n")

    batching_file = directory / "batching.config"
    batching_file.write_text(BATCHING)

    def start(*flags: str, models: str = "few", batching: bool = False) -> Target:
        standard = (
            f"--model_config_file={configuration(directory_of_models, models)}",
            f"--monitoring_config_file={monitoring}",
            "--enable_grpc_healthcheck_service",
            *(("--enable_batching", f"--batching_parameters_file={batching_file}") if batching else ()),
        )
        return started(command, (*standard, *flags), directory)

    return start


def started(command: Sequence[str], flags: Sequence[str], directory: Path) -> Target:
    """A server that is ready; its output is kept in a new directory below this one."""
    for tries_left in (2, 1, 0):
        where = Path(tempfile.mkdtemp(prefix="server-", dir=directory))
        target = Target(command, flags, where)
        try:
            target.wait_ready(STARTING)
        except BaseException:
            target.stop()
            # Between being found free and being opened a port may go to somebody else.
            if tries_left and "already in use" in target.stderr:
                continue
            raise
        return target
    raise AssertionError("unreachable")


def percentile(seconds: Iterable[float], part: float) -> float:
    """By the nearest rank: the smallest that so large a part of them does not exceed."""
    ascending = sorted(seconds)
    return ascending[max(0, math.ceil(len(ascending) * part) - 1)] if ascending else math.nan


def ended_by(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
