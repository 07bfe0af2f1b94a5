"""A client of a server that is broken or means ill: one line that says so, within the client's own time."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tf_mlm.decoder import Decoder
from tf_mlm.serving.client.client import Client, ClientError
from tf_mlm.serving.errors import Code

Connect = Callable[..., Client]
Behaviour = Callable[[socket.socket], None]
TIMEOUT = 1.0
DECODER = Decoder(
    {"type": "WordPiece", "prefix": "##", "cleanup": True}, "[M]", "[P]", ("[P]", "[M]")
).to_json()
FILL = {
    "tokens": [[["a", "b"]]],
    "token_ids": [[[1, 2]]],
    "scores": [[[0.75, 0.25]]],
    "mask_positions": [[1]],
    "text_tokens": [["the", "[M]", "."]],
    "lengths": [3],
    "decoder": [DECODER],
}


class Server:
    """Reads a request, then behaves as it was told, on each connection."""

    def __init__(self) -> None:
        self.behave: Behaviour = lambda connection: None
        self.requests = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.stopped = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := connection.recv(1 << 16)):
                    return
                head += piece
            self.requests += 1
            try:
                self.behave(connection)
            except OSError:  # the client has gone
                return

    def forever(self, connection: socket.socket, piece: bytes, pause: float = 0.0) -> None:
        """The same bytes until the client or the test has gone."""
        while not self.stopped.wait(pause):
            connection.sendall(piece)

    def close(self) -> None:
        self.stopped.set()
        self._listening.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def client(server: Server, connect: Connect) -> Iterator[Client]:
    with connect(f"http://127.0.0.1:{server.port}/m", timeout=TIMEOUT, max_answer_bytes=1 << 20) as client:
        yield client


def answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


def of(outputs: Any) -> bytes:
    return answer(json.dumps({"outputs": outputs}).encode())


HEAD = b"HTTP/1.1 200 OK\r\n"
ENDLESS: dict[str, tuple[bytes, bytes, float]] = {
    "nothing at all": (b"", b"", 0.05),
    "a dripped status line": (b"HTTP/1.1 2", b"0", 0.05),
    "a dripped header": (HEAD + b"X: ", b"x", 0.05),
    "dripped headers": (HEAD, b"X: y\r\n", 0.05),
    "a header value": (HEAD + b"X: ", b"x" * 4096, 0.0),
    "headers": (HEAD, b"X: " + b"y" * 1000 + b"\r\n", 0.0),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
    "a dripped body": (HEAD + b"Content-Length: 100000\r\n\r\n", b" ", 0.05),
    "a body": (HEAD + b"\r\n", b" " * 4096, 0.0),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.0),
    "a chunk's size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 4096, 0.0),
    "dripped chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.05),
    "an error's body": (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 4096, 0.0),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_without_end_ends_with_the_clients_time(server: Server, client: Client, name: str) -> None:
    first, piece, pause = ENDLESS[name]

    def behave(connection: socket.socket) -> None:
        connection.sendall(first)
        server.forever(connection, piece, pause)

    server.behave = behave
    start = time.monotonic()
    with pytest.raises(ClientError) as caught:
        client.fill("the [M].")
    # A slow computer may add to it, but what would have no end has one.
    assert time.monotonic() - start < TIMEOUT + 20
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_the_size_of_an_answer_is_bounded_by_its_argument(server: Server, connect: Connect) -> None:
    body = b'{"outputs": ' + b" " * 5000 + b"[[1.0]]}"
    server.behave = lambda connection: connection.sendall(answer(body))
    with connect(f"http://127.0.0.1:{server.port}/m", max_answer_bytes=5000) as client:
        with pytest.raises(ClientError, match=r"more than 5000 bytes.*larger `max_answer_bytes`") as caught:
            client.encode("a")
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
    with connect(f"http://127.0.0.1:{server.port}/m", max_answer_bytes=len(body)) as client:
        assert client.encode("a").tolist() == [[1.0]]


BROKEN: dict[str, bytes] = {
    "an empty body": answer(b""),
    "no JSON": answer(b"hello"),
    "half of it": answer(b'{"outputs": {"tokens": [['),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a hang-up": b"",
    "a short body": HEAD + b'Content-Length: 100\r\n\r\n{"outputs":',
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a deep list": answer(b'{"outputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a deep value": of({**FILL, "scores": json.loads("[" * 200 + "1.0" + "]" * 200)}),
    "a number of many digits": answer(b'{"outputs": ' + b"1" * 10_000 + b"}"),
    "a page of HTML": answer(b"<html><body>It works!</body></html>"),
    "another's 404": answer(b"<h1>404</h1>\n<p>nginx</p>", "404 Not Found"),
    "an error that is no text": answer(b'{"error": {"code": 5}}', "400 Bad Request"),
    "an error of a list": answer(b"[]", "500 Internal Server Error"),
    "a long error": answer(json.dumps({"error": "x\n" * 100_000}).encode(), "400 Bad Request"),
    "a redirection": answer(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"),
    "no content": answer(b"", "204 No Content"),
    "no list": answer(b"null"),
    "no outputs": answer(b'{"predictions": [1]}'),
    "null": of(None),
    "a list": of([1, 2]),
    "nothing": of({}),
    **{f"no {alias}": of({k: v for k, v in FILL.items() if k != alias}) for alias in FILL},
    **{f"null for {alias}": of({**FILL, alias: None}) for alias in FILL},
    **{f"an empty {alias}": of({**FILL, alias: []}) for alias in FILL},
    **{f"{alias} nested once more": of({**FILL, alias: [FILL[alias]]}) for alias in FILL},
    **{f"two rows of {alias}": of({**FILL, alias: [*FILL[alias], *FILL[alias]]}) for alias in FILL},
    "two answers for one text": of({alias: value * 2 for alias, value in FILL.items()}),
    "scores as text": of({**FILL, "scores": [[["0.75", "0.25"]]]}),
    "ids with fractions": of({**FILL, "token_ids": [[[1.5, 2.0]]]}),
    "ids beyond int32": of({**FILL, "token_ids": [[[2**40, 2]]]}),
    "numbers as tokens": of({**FILL, "tokens": [[[1, 2]]]}),
    "ragged tokens": of({**FILL, "text_tokens": [["the"], []]}),
    "fewer scores": of({**FILL, "scores": [[[0.75]]]}),
    "no mask": of({**FILL, "mask_positions": [[-1]]}),
    "a mask behind the text": of({**FILL, "mask_positions": [[3]]}),
    "a text longer than its tokens": of({**FILL, "lengths": [4]}),
    "another decoder": of({**FILL, "decoder": [DECODER.replace("WordPiece", "Rot13")]}),
    "a decoder that is none": of({**FILL, "decoder": ["[" * 10_000]}),
    "bad base64": of({**FILL, "decoder": [{"b64": "!"}]}),
    "no base64": of({**FILL, "decoder": [{"b65": ""}]}),
}


def test_what_is_broken_below_is_otherwise_sound(server: Server, client: Client) -> None:
    server.behave = lambda connection: connection.sendall(of(FILL))
    assert client.fill("the [M].", top_k=1) == [
        {"score": 0.75, "token": 1, "token_str": "a", "sequence": "the a."}
    ]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_one_line(server: Server, client: Client, name: str) -> None:
    server.behave = lambda connection: connection.sendall(BROKEN[name])
    with pytest.raises(ClientError) as caught:
        client.fill("the [M].", top_k=1)
    message = str(caught.value)
    assert "\n" not in message
    assert 40 < len(message) < 3000
    assert "from http://127.0.0.1" in message


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"metadata": 1}', b"[" * 99_999, b'{"model_version_status": [{}]}']
)
@pytest.mark.parametrize("question", ["status", "metadata"])
def test_other_questions_too(server: Server, client: Client, question: str, body: bytes) -> None:
    server.behave = lambda connection: connection.sendall(answer(body))
    with pytest.raises(ClientError):
        getattr(client, question)()
    with pytest.raises(ClientError):
        client.predict({"x": [1.0]}, "any")


def test_a_redirection_is_not_followed(server: Server, client: Client) -> None:
    to_itself = f"Location: http://127.0.0.1:{server.port}/\r\n"
    server.behave = lambda connection: connection.sendall(answer(b"", "307 Temporary Redirect", to_itself))
    before = server.requests
    with pytest.raises(ClientError, match=r"status 307 \(a redirection, which is not followed\)"):
        client.score("a")
    assert server.requests == before + 1


def test_a_fill_is_one_request(server: Server, client: Client) -> None:
    targets = {"scores": [[[0.5]]], "target_ids": [[1]], "tokens": [["a"]]}
    found = {**FILL, **targets}
    found.pop("token_ids")
    for outputs, asked in ((FILL, None), (found, "a")):
        server.behave = lambda connection, outputs=outputs: connection.sendall(of(outputs))
        before = server.requests
        assert client.fill("the [M].", top_k=1, targets=asked)[0]["sequence"] == "the a."
        assert server.requests == before + 1


TARGETS = {
    "scores": [[[0.25, 0.5, 0.125]]],
    "target_ids": [[2, 1, 2]],
    "tokens": [["b", "a", "b"]],
    **{alias: FILL[alias] for alias in ("mask_positions", "text_tokens", "lengths", "decoder")},
}


def test_candidates_that_a_server_padded_are_cut(server: Server, client: Client) -> None:
    server.behave = lambda connection: connection.sendall(of(TARGETS))
    found = client.fill("the [M].", targets=["b", "a"])
    assert [(fill["token_str"], fill["score"]) for fill in found] == [("a", 0.5), ("b", 0.25)]
    with pytest.raises(ClientError, match="`tokens` must have 4 columns, one per target"):
        client.fill("the [M].", targets=["b", "a", "b", "c"])


def test_an_older_export_is_refused_by_name(server: Server, client: Client) -> None:
    old = {alias: FILL[alias] for alias in ("tokens", "token_ids", "scores", "mask_positions")}
    server.behave = lambda connection: connection.sendall(of(old))
    with pytest.raises(ClientError, match=r"lacks decoder, lengths, text_tokens.*Export it again") as caught:
        client.fill("the [M].")
    assert caught.value.code is Code.FAILED_PRECONDITION


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("host", ["no-such-host.invalid", "127.0.0.1", "a" * 70 + ".invalid", "[::1]"])
def test_nobody_is_there(scheme: str, host: str, connect: Connect) -> None:
    with connect(f"{scheme}://{host}:1/m", timeout=2) as client, pytest.raises(ClientError) as caught:
        client.fill("the [M].")
    assert caught.value.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60))
    with Client("http://somewhere:1/m", timeout=0.3) as client, pytest.raises(ClientError, match="in time"):
        client.status()
    over.set()


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_time_must_be_one(value: float) -> None:
    with pytest.raises(ValueError, match="`timeout` must be a positive number of seconds"):
        Client("http://127.0.0.1:1/m", timeout=value)


@pytest.mark.parametrize("name", ["retries", "max_answer_bytes"])
def test_a_number_must_not_be_negative(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be at least"):
        Client("http://127.0.0.1:1/m", **{name: -1})


# ---- gRPC --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[Any]:
    """A gRPC server that answers any call with the bytes in its `reply`."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    class Handler(grpc.GenericRpcHandler):
        reply: Any = b""

        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: self.reply)

    handler = Handler()
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, [handler], options=[("grpc.max_send_message_length", -1)])
        handler.port = server.add_insecure_port("127.0.0.1:0")  # type: ignore[attr-defined]
        server.start()
        yield handler
        server.stop(None).wait()


def protos(outputs: dict[str, Any], **changes: Any) -> bytes:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    response = predict_pb2.PredictResponse()
    for alias, value in {**outputs, **changes}.items():
        dtype = {"scores": tf.float32, "lengths": tf.int32, "token_ids": tf.int32}.get(alias)
        response.outputs[alias].CopyFrom(tf.make_tensor_proto(value, dtype))
    return response.SerializeToString()


def of_shape(*sizes: int) -> bytes:
    from tensorflow_serving.apis import predict_pb2

    response = predict_pb2.PredictResponse()
    proto = response.outputs["tokens"]
    proto.dtype = 7
    for size in sizes:
        proto.tensor_shape.dim.add().size = size
    proto.string_val.append(b"x")
    return response.SerializeToString()


BROKEN_PROTOS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no proto": lambda: b"\xff" * 20,
    "no decoder": lambda: protos({alias: FILL[alias] for alias in FILL if alias != "decoder"}),
    "lengths as text": lambda: protos({**FILL, "decoder": DECODER, "lengths": [3]}),
    "scores of two texts": lambda: protos(FILL, scores=np.zeros([2, 1, 2], np.float32)),
    "tokens as numbers": lambda: protos(FILL, tokens=[[[1, 2]]]),
    "a shape of 2**40": lambda: of_shape(2**40),
    "rank 300": lambda: of_shape(*[1] * 300),
    "no mask": lambda: protos(FILL, mask_positions=[[-1]]),
    "too large": lambda: protos(FILL, decoder=["x" * (2 << 20)]),
}


@pytest.mark.parametrize("name", BROKEN_PROTOS)
def test_a_broken_grpc_answer_is_one_line(grpc_server: Any, name: str, connect: Connect) -> None:
    grpc_server.reply = BROKEN_PROTOS[name]()
    target = f"grpc://127.0.0.1:{grpc_server.port}/m"
    with connect(target, timeout=20, max_answer_bytes=1 << 20) as client:
        with pytest.raises(ClientError) as caught:
            client.fill("the [M].", top_k=1)
        assert "\n" not in str(caught.value)
        if name == "too large":
            assert "larger `max_answer_bytes`" in str(caught.value)
        if name == "nothing":
            with pytest.raises(ClientError):
                client.metadata()
            assert client.status() == []


def test_a_sound_grpc_answer(grpc_server: Any, connect: Connect) -> None:
    grpc_server.reply = protos(FILL)
    with connect(f"grpc://127.0.0.1:{grpc_server.port}/m", timeout=20) as client:
        assert client.fill("the [M].", top_k=1)[0]["sequence"] == "the a."
