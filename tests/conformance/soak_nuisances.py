"""Clients nobody wants, beside the good ones: slow, vanishing, never reading, noisy."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from conformance.attacks import http2
from conformance.launcher import Process
from conformance.server import model_spec
from conformance.soak_clients import Tally

PREDICT = "/tensorflow.serving.PredictionService/Predict"
HEAD = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 25\r\n\r\n"
BODY = b'{"instances": [2.0, 3.0]}'
TIMEOUT = 10.0


def message() -> bytes:
    request = predict_pb2.PredictRequest(model_spec=model_spec("half_plus_two"))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([2.0, 3.0], np.float32)))
    return request.SerializeToString()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), TIMEOUT)


def dripping(process: Process, rng: random.Random) -> None:
    """A right request, a byte at a time: it is answered all the same."""
    with connect(process.rest_port) as connection:
        for at in range(len(HEAD + BODY)):
            connection.sendall((HEAD + BODY)[at : at + 1])
            time.sleep(0.001)
        reply = connection.recv(65536)
        assert reply.startswith(b"HTTP/1.1 200 "), f"a dripped request was answered {reply[:200]!r}"


def vanishing(process: Process, rng: random.Random) -> None:
    """Gone somewhere in a request or after it, with or without a word."""
    with connect(process.rest_port) as connection:
        connection.sendall((HEAD + BODY)[: rng.randint(0, len(HEAD + BODY))])
        if rng.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def vanishing_call(process: Process, rng: random.Random) -> None:
    with connect(process.grpc_port) as raw:
        connection = http2.Connection(raw)
        for _ in range(rng.randint(1, 20)):
            stream = connection.call(PREDICT, message())
            if rng.random() < 0.5:
                connection.send(http2.frame(http2.RST_STREAM, 0, stream, struct.pack(">I", 8)))


def unread(process: Process, rng: random.Random) -> None:
    """Many requests whose answers nobody reads."""
    with connect(process.rest_port) as connection:
        connection.sendall((HEAD + BODY) * rng.randint(1, 50))
        time.sleep(0.05)


def noise(process: Process, rng: random.Random) -> None:
    port = process.rest_port if rng.random() < 0.5 else process.grpc_port
    with connect(port) as connection:
        data = bytearray(HEAD + BODY if rng.random() < 0.5 else http2.PREFACE + message())
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        connection.sendall(data)
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            connection.recv(65536)


def silent(process: Process, rng: random.Random) -> None:
    with connect(process.rest_port if rng.random() < 0.5 else process.grpc_port):
        time.sleep(0.3)


KINDS: tuple[Callable[[Process, random.Random], None], ...] = (
    dripping,
    vanishing,
    vanishing_call,
    unread,
    noise,
    silent,
)


def bother_until(end: float, process: Process, number: int, seed: int, tally: Tally) -> None:
    """One nuisance after the other until the monotonic clock reads `end`; a closed connection is fine."""
    rng = random.Random(f"{seed} nuisance {number}")
    while time.monotonic() < end:
        kind = KINDS[number % len(KINDS)]
        try:
            kind(process, rng)
        except AssertionError as error:
            tally.bad(kind.__name__, str(error))
        except OSError:
            pass
        with tally.lock:
            tally.counts[f"nuisance: {kind.__name__.replace('_', ' ')}"] += 1
        time.sleep(0.05)
