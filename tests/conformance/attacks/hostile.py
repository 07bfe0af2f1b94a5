"""Servers that a client must survive: they drip, never end, lie about sizes, and answer nonsense."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import gzip
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ENDLESS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
EVERY = 0.05  # seconds between drips


def whole(body: bytes, head: bytes = HEAD) -> Iterator[bytes]:
    yield head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def drip(begin: bytes, more: bytes) -> Iterator[bytes]:
    """A little every now and then: no single read ever times out."""
    yield begin
    while True:
        threading.Event().wait(EVERY)
        yield more


def flood(begin: bytes, more: bytes) -> Iterator[bytes]:
    yield begin
    yield from itertools.repeat(more)


def silence() -> Iterator[bytes]:
    threading.Event().wait(3600)
    yield b""


def tensor(shape: list[int], dtype: int = types_pb2.DT_FLOAT, **values: Any) -> tensor_pb2.TensorProto:
    return tensor_pb2.TensorProto(
        dtype=dtype, tensor_shape={"dim": [{"size": size} for size in shape]}, **values
    )


@functools.cache
def bomb() -> bytes:
    return gzip.compress(b'{"outputs": [' + b"0," * 50_000_000 + b"0]}", 1)


REST: dict[str, Callable[[], Iterator[bytes]]] = {
    "silence": silence,
    "closed at once": lambda: iter([b""]),
    "noise": lambda: iter([bytes(range(256)) * 10]),
    "dripped head": lambda: drip(HEAD, b"X-A: a\r\n"),
    "dripped body": lambda: drip(HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
    "dripped chunks": lambda: drip(ENDLESS, b"1\r\n \r\n"),
    "endless head": lambda: flood(HEAD, b"X-A: " + b"a" * 65536 + b"\r\n"),
    "endless header": lambda: flood(HEAD + b"X-A: ", b"a" * 65536),
    "endless body": lambda: flood(ENDLESS, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "a shorter body than said": lambda: iter([HEAD + b"Content-Length: 1000\r\n\r\n{}"]),
    "a gzip bomb": lambda: whole(bomb(), HEAD + b"Content-Encoding: gzip\r\n"),
    "no JSON": lambda: whole(b"<html>"),
    "nothing": lambda: whole(b""),
    "deep JSON": lambda: whole(b"[" * 200_000 + b"]" * 200_000),
    "a list": lambda: whole(b"[]"),
    "no outputs": lambda: whole(b"{}"),
    "null outputs": lambda: whole(b'{"outputs": null}'),
    "a number for outputs": lambda: whole(b'{"outputs": 1}'),
    "ragged outputs": lambda: whole(
        b'{"outputs": {"token_ids": [[1], [1, 2]], "tokens": "a", "lengths": {}}}'
    ),
    "other outputs": lambda: whole(b'{"outputs": {"something": [1.0]}}'),
    "an integer of a million digits": lambda: whole(b'{"outputs": ' + b"9" * 1_000_000 + b"}"),
    "invalid UTF-8": lambda: whole(b'{"outputs": "\xff\xfe"}'),
    "an endless error": lambda: flood(
        b"HTTP/1.1 500 Error\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"a" * 65536 + b"\r\n"
    ),
    "an error of another kind": lambda: whole(b'{"error": [1, 2]}', b"HTTP/1.1 418 Teapot\r\n"),
    "redirects to itself": lambda: whole(b"", b"HTTP/1.1 302 Found\r\nLocation: /v1/models/mlm\r\n"),
    "switching protocols": lambda: iter([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"]),
    "endless 100s": lambda: flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
}
GRPC: dict[str, Callable[[], bytes]] = {
    "noise": lambda: bytes(range(256)),
    "nothing": lambda: b"",
    "one number for 2^33": lambda: outputs(scores=tensor([2**33], float_val=[1.0])),
    "one text for 2^26": lambda: outputs(tokens=tensor([2**26], types_pb2.DT_STRING, string_val=[b"a"])),
    "rank 300": lambda: outputs(scores=tensor([1] * 300, float_val=[1.0])),
    "a negative size": lambda: outputs(scores=tensor([-1], float_val=[1.0])),
    "an unknown type": lambda: outputs(scores=tensor([1], 999)),
    "content of another size": lambda: outputs(scores=tensor([2], tensor_content=b"abc")),
    "other outputs": lambda: outputs(something=tensor([1], float_val=[1.0])),
    "other shapes": lambda: outputs(
        **{
            alias: tensor([3, 0, 2], dtype)
            for alias, dtype in (
                ("tokens", types_pb2.DT_STRING),
                ("token_ids", types_pb2.DT_INT32),
                ("scores", types_pb2.DT_FLOAT),
                ("mask_positions", types_pb2.DT_INT32),
                ("starts", types_pb2.DT_INT32),
                ("ends", types_pb2.DT_INT32),
                ("lengths", types_pb2.DT_INT32),
                ("embeddings", types_pb2.DT_FLOAT),
            )
        }
    ),
    "other types": lambda: outputs(
        **{
            alias: tensor([1, 1, 1], types_pb2.DT_DOUBLE, double_val=[0.5])
            for alias in ("tokens", "token_ids", "scores", "mask_positions", "lengths")
        }
    ),
}


def outputs(**tensors: tensor_pb2.TensorProto) -> bytes:
    response = predict_pb2.PredictResponse()
    for alias, proto in tensors.items():
        response.outputs[alias].CopyFrom(proto)
    return response.SerializeToString()


@contextlib.contextmanager
def rest_server(answer: Callable[[], Iterator[bytes]]) -> Iterator[int]:
    """A port where every connection gets the pieces of `answer()`, whatever it asks."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.recv(65536)
            for piece in answer():
                if ended.is_set():
                    return
                connection.sendall(piece)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class Always(grpc.GenericRpcHandler):
    """Answers every method with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.answer)


@contextlib.contextmanager
def grpc_server(answer: bytes) -> Iterator[int]:
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(4), [Always(answer)], options=[("grpc.so_reuseport", 0)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()
