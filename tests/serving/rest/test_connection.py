"""HTTP itself, spoken over bare sockets: manners, limits, slow and absent clients, leaving."""

from __future__ import annotations

import contextlib
import errno
import gzip
import http.client
import itertools
import json
import select
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TWO = b'{"instances": [2.0]}'
POST = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: a\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(TWO) + TWO
SLOW = b'{"inputs": [2000000000], "signature_name": "slow"}'
PATIENCE = 120.0


class Peer:
    """A client that speaks bytes."""

    def __init__(self, served: Any, source: str = "127.0.0.1") -> None:
        address = ("127.0.0.1", served.server.rest_port)
        self.socket = socket.create_connection(address, timeout=PATIENCE, source_address=(source, 0))
        self._file = self.socket.makefile("rb")
        self.send = self.socket.sendall

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def answer(self, method: str = "POST") -> tuple[int, bytes, Any]:
        """Status, body and headers of the next answer."""
        status = int(self._file.readline().split()[1])
        headers = http.client.parse_headers(self._file)
        return status, self._file.read(0 if method == "HEAD" else int(headers["content-length"])), headers

    def line(self) -> bytes:
        return self._file.readline()

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        with contextlib.suppress(ConnectionError):
            return self._file.read()
        return b""


def exchange(served: Any, sent: bytes) -> bytes:
    with Peer(served) as peer:
        peer.send(sent)
        return peer.rest()


def stream(served: Any, start: bytes, pieces: Iterator[bytes], limit: int) -> tuple[bytes, int]:
    """Sends pieces until the server answers; its answer, and how much had been sent."""
    with Peer(served) as connection:
        connection.send(start)
        sent = 0
        for piece in pieces:
            if sent > limit or select.select([connection.socket], [], [], 0)[0]:
                break
            with contextlib.suppress(ConnectionError):
                connection.send(piece)
            sent += len(piece)
        return connection.rest(), sent


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def make(serve, models: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A server of `half_plus_two` or another model, with limits of its own."""
    made = []

    def start(model: str = "half_plus_two", **options: Any) -> Any:
        base = tmp_path / f"{model}{len(made)}"
        shutil.copytree(models / model, base / "1")
        options = {"prometheus_path": "/metrics", **options}
        made.append(serve(model_name=model, model_base_path=str(base), **options))
        return made[-1]

    yield start
    for served in made:
        served.http.close()
        served.server.stop()


def rest(served: Any) -> Any:
    return served.server._rest


def in_progress(served: Any) -> int:
    return rest(served).threads.requests


def counted(served: Any, status: str) -> bool:
    return f'request_count{{model_name="",status="{status}"}}' in served.http.get("/metrics").text


# ---- manners -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQB\r\n",
        b"Connection: upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"Upgrade: TLS/1.3, h2c\r\nConnection: keep-alive, Upgrade\r\n",
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upgrade_is_ignored_and_the_request_answered(served, headers: bytes, chunked: bool) -> None:
    framed = b"Content-Length: %d\r\n\r\n%s" % (len(TWO), TWO)
    if chunked:
        framed = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(TWO), TWO)
    with Peer(served) as connection:
        for _ in range(2):  # and the connection can be used again
            connection.send(POST + headers + framed)
            assert connection.answer()[:2] == (200, b'{\n    "predictions": [3.0\n    ]\n}')


def test_an_upgrade_whose_body_comes_later(served) -> None:
    with Peer(served) as connection:
        head = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(TWO)
        for piece in (head[:30], head[30:], TWO[:5], TWO[5:]):
            connection.send(piece)
        assert connection.answer()[0] == 200


def test_http_1_0_closes_unless_asked_to_keep_the_connection(served) -> None:
    request = WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0")
    assert b"Connection: close\r\n" in exchange(served, request)
    kept = request.replace(b"Host: a", b"Connection: keep-alive")
    with Peer(served) as connection:
        for _ in range(2):
            connection.send(kept)
            status, _, headers = connection.answer()
            assert (status, headers["connection"]) == (200, "keep-alive")


def test_absolute_targets_are_paths_with_a_host(served) -> None:
    with Peer(served) as connection:
        connection.send(WHOLE.replace(b"/v1/", b"http://somewhere:8501/v1/"))
        assert connection.answer()[0] == 200


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT a:80 HTTP/1.1", 501),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"GET /v1/models/half_plus_two#part HTTP/1.1", 200),
        (b"GET / HTTP/1.1", 404),
        (b"GET / HTTP/3.7", 400),
        (b"PRI * HTTP/2.0", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
    ],
)
def test_other_request_lines(served, line: bytes, status: int) -> None:
    answer = exchange(served, line + b"\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_head_has_no_body(served) -> None:
    with Peer(served) as connection:
        connection.send(b"HEAD /v1/models/half_plus_two HTTP/1.1\r\nHost: a\r\n\r\n" + WHOLE)
        status, body, headers = connection.answer("HEAD")
        assert (status, body) == (400, b"")
        assert int(headers["content-length"]) > 0
        assert connection.answer()[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 20\r\nContent-Length: 20\r\n",
        b"Content-Length: 20\r\nContent-Length: 21\r\n",
        b"Content-Length: 20, 20\r\n",
        b"Content-Length: +20\r\n",
        b"Content-Length: 2 0\r\n",
        b"Content-Length: 20\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 20\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: 20\nX: 1\r\n",
        b" folded: 1\r\n",
    ],
)
def test_requests_whose_end_is_ambiguous_are_refused(served, headers: bytes) -> None:
    answer = exchange(served, POST + headers + b"\r\n" + TWO + WHOLE)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close\r\n" in answer


def test_http_1_0_has_no_chunks(served) -> None:
    head = POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n"
    assert exchange(served, head + b"14\r\n" + TWO + b"\r\n0\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_chunks_of_one_byte_and_trailers_that_change_nothing(served) -> None:
    chunks = b"".join(b"1;note=x\r\n%c\r\n" % byte for byte in TWO)
    with Peer(served) as connection:
        connection.send(
            POST + b"Transfer-Encoding: Chunked\r\n\r\n" + chunks + b"0\r\nContent-Encoding: gzip\r\n\r\n"
        )
        assert connection.answer()[:2] == (200, b'{\n    "predictions": [3.0\n    ]\n}')


def test_100_continue(make) -> None:
    served = make(rest_max_body_bytes=1000)
    head = POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with Peer(served) as connection:
        connection.send(head % len(TWO))
        assert connection.line() + connection.line() == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(TWO)
        assert connection.answer()[0] == 200
    answer = exchange(served, head % 1001)  # too long: said before a byte of it is sent
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"limit of 1000 bytes (--rest_max_body_bytes)" in answer


def test_pipelined_requests_are_answered_in_order(served) -> None:
    asked = [2.0 * number for number in range(25)]
    bodies = [b'{"instances": [%r]}' % number for number in asked]
    with Peer(served) as connection:
        connection.send(b"".join(POST + b"Content-Length: %d\r\n\r\n" % len(b) + b for b in bodies))
        answers = [json.loads(connection.answer()[1])["predictions"] for _ in asked]
    assert answers == [[number / 2 + 2] for number in asked]


def test_requests_before_a_malformed_one_are_answered(served) -> None:
    answer = exchange(served, WHOLE + WHOLE + b"nonsense\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.count(b"HTTP/1.1 400 ") == 1


def test_requests_sent_ahead_without_end_are_refused(served) -> None:
    answer = exchange(served, b"GET /v1/models/half_plus_two HTTP/1.1\r\n\r\n" * 40)
    assert answer.count(b"HTTP/1.1 200 ") == 32
    assert answer.count(b"HTTP/1.1 429 ") == 1


def test_a_client_that_has_sent_all_may_close_its_half(served) -> None:
    with Peer(served) as connection:
        connection.send(WHOLE + WHOLE)
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.rest().count(b"HTTP/1.1 200 ") == 2


def test_a_body_that_is_cut_off_gets_no_answer(served) -> None:
    with Peer(served) as connection:
        connection.send(WHOLE[:-1])
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.rest() == b""


# ---- heads and bodies without end ----------------------------------------------------------------

GET = b"GET /v1/models/half_plus_two HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        (b"GET /", b"a" * 500, 414),
        (GET + b"X: ", b"a" * 500, 431),
        (GET, b"X: a\r\n" * 80, 431),
        (GET, b"a" * 500, 431),
        (b"", b"\r\n" * 250, 431),
        (CHUNKED + b"5;", b"x" * 500, 431),
        (CHUNKED + b"0\r\n", b"X: a\r\n" * 80, 431),
        (CHUNKED + b"0\r\nX: ", b"a" * 500, 431),
    ],
)
def test_heads_without_end(make, start: bytes, piece: bytes, status: int) -> None:
    served = make(rest_max_header_bytes=4096)
    answer, sent = stream(served, start, itertools.repeat(piece), 100_000_000)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"4096 bytes (--rest_max_header_bytes)" in answer
    assert sent < 10_000_000  # what fits the sockets' buffers, and no more
    assert counted(served, "INVALID_ARGUMENT")


def test_a_head_just_below_the_limit(make) -> None:
    served = make(rest_max_header_bytes=4096)
    with Peer(served) as connection:
        connection.send(WHOLE.replace(b"Host: a", b"X: " + b"a" * 3500))
        assert connection.answer()[0] == 200


def test_a_body_without_end(make) -> None:
    served = make(rest_max_body_bytes=50_000)
    answer, _ = stream(served, CHUNKED, itertools.repeat(b"64\r\n" + b" " * 100 + b"\r\n"), 10_000_000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"limit of 50000 bytes (--rest_max_body_bytes)" in answer
    assert counted(served, "RESOURCE_EXHAUSTED")


def test_the_answer_to_a_body_too_long_is_read_by_a_client_that_sends_it_all(make) -> None:
    served = make(rest_max_body_bytes=50_000)
    reply = served.post("half_plus_two:predict", b" " * 30_000_000)
    assert reply.status_code == 413


def test_long_bodies_of_many_clients_are_not_all_held(make) -> None:
    served = make(rest_max_buffered_bytes=300_000)
    head = POST + b"Content-Length: 200000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Peer(served)).send(head + b" " * 150_000)
        until(lambda: counted(served, "RESOURCE_EXHAUSTED"))
        assert rest(served).connections.held_bytes <= 300_000 + 65536
        assert served.post("half_plus_two:predict", TWO).status_code == 200  # short ones are taken
    until(lambda: rest(served).connections.held_bytes == 0)


def test_a_name_without_end_is_cut_in_the_answer(served) -> None:
    reply = served.http.get("/v1/models/" + "n" * 20_000)
    assert reply.status_code == 404
    assert reply.json()["error"].endswith("...TRUNCATED")
    assert len(reply.content) < 17_000


# ---- gzip ------------------------------------------------------------------------------------------


def gzipped(*members: bytes) -> bytes:
    return b"".join(gzip.compress(member, 1, mtime=0) for member in members)


@pytest.mark.parametrize(
    "body",
    [gzipped(TWO), gzipped(TWO[:5], TWO[5:]), gzipped(b"", TWO), gzipped(TWO + b" " * 3 * 2**20)],
)
def test_gzip_members_make_one_body(served, body: bytes) -> None:
    reply = served.post("half_plus_two:predict", body, headers={"Content-Encoding": "gzip"})
    assert reply.json() == {"predictions": [3.0]}


@pytest.mark.parametrize(
    "body",
    [
        gzipped(b" " * 200_000),
        gzipped(*[b" " * 999] * 300),
        gzipped(gzipped(b" " * 10_000_000)),
    ],
)
def test_gzip_bodies_that_stand_for_too_much(make, body: bytes) -> None:
    served = make(rest_max_body_bytes=100_000)
    reply = served.post("half_plus_two:predict", body, headers={"Content-Encoding": "gzip"})
    assert reply.status_code == 400
    assert "JSON Parse error:" in reply.json()["error"]


def test_a_gzip_bomb_names_its_limit(make) -> None:
    served = make(rest_max_body_bytes=2_000_000)
    body = gzipped(b" " * 40_000_000)
    reply = served.post("half_plus_two:predict", body, headers={"Content-Encoding": "gzip"})
    assert "2000000 bytes (--rest_max_body_bytes)" in reply.json()["error"]


@pytest.mark.parametrize(
    "body", [gzipped(TWO)[:-1], gzipped(TWO) + b"x", b"", gzipped(b"") * 2000 + gzipped(TWO)]
)
def test_gzip_bodies_that_are_none_are_empty(served, body: bytes) -> None:
    reply = served.post("half_plus_two:predict", body, headers={"Content-Encoding": "gzip"})
    assert reply.json()["error"] == "JSON Parse error: The document is empty"


# ---- slow, silent and absent clients ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"G", b"head"),
        (GET, b"head"),
        (WHOLE[:-1], b"body"),
        (CHUNKED + b"5", b"body"),
        (CHUNKED + b"5\r\n12345\r\n0\r\n", b"body"),
    ],
)
def test_a_request_that_does_not_come_to_its_end(make, start: bytes, part: bytes) -> None:
    served = make(rest_header_timeout=0.2, rest_body_timeout=0.2)
    answer = exchange(served, start)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request's %s did not come within 0.2 seconds (--rest_" % part in answer
    assert counted(served, "DEADLINE_EXCEEDED")


def test_bytes_that_drip_do_not_move_the_deadline(make) -> None:
    served = make(rest_header_timeout=0.3)
    with Peer(served) as connection:
        connection.send(GET)
        for byte in itertools.cycle(b"X: a\r\n"):
            if select.select([connection.socket], [], [], 0.02)[0]:
                break
            connection.send(bytes([byte]))
        answer = connection.rest()
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_silent_connections_are_closed(make) -> None:
    served = make(rest_idle_timeout=0.2)
    with Peer(served) as silent, Peer(served) as idle:
        idle.send(WHOLE)
        assert idle.answer()[0] == 200
        assert (silent.rest(), idle.rest()) == (b"", b"")


def test_unfinished_requests_take_no_place(make) -> None:
    served = make(max_concurrent_requests=1)
    with contextlib.ExitStack() as stack:
        for start in (b"POST", WHOLE[:-1], CHUNKED + b"5\r\n1"):
            stack.enter_context(Peer(served)).send(start)
        until(lambda: len(rest(served).connections) == 3)
        assert served.post("half_plus_two:predict", TWO).status_code == 200


@pytest.mark.parametrize("limit", ["rest_max_connections", "rest_max_connections_per_address"])
def test_the_connection_that_waits_longest_makes_room(make, limit: str) -> None:
    served = make(**{limit: 4})
    with contextlib.ExitStack() as stack:
        known = stack.enter_context(Peer(served))
        known.send(WHOLE)
        known.answer()
        silent = [stack.enter_context(Peer(served)) for _ in range(3)]
        silent[1].send(b"POST /")
        until(lambda: len(rest(served).connections) == 4)
        assert served.post("half_plus_two:predict", TWO).status_code == 200
        assert silent[0].rest() == b""
        known.send(WHOLE)  # it has been waiting for longer, but has asked before
        assert known.answer()[0] == 200


def test_an_address_has_its_own_limit(make) -> None:
    served = make(rest_max_connections_per_address=2)
    with Peer(served, "127.0.0.2") as other, Peer(served) as first, Peer(served) as second:
        until(lambda: len(rest(served).connections) == 3)
        assert served.post("half_plus_two:predict", TWO).status_code == 200
        assert first.rest() == b""
        for connection in (other, second):
            connection.send(WHOLE)
            assert connection.answer()[0] == 200


def test_silent_connections_make_room_where_no_more_files_can_be_opened(make, caplog) -> None:
    served = make()
    loop = rest(served).loop
    with Peer(served) as silent:
        until(lambda: len(rest(served).connections) == 1)
        error = {"exception": OSError(errno.EMFILE, "Too many open files")}  # as asyncio reports accept's
        loop.call_soon_threadsafe(loop.call_exception_handler, error)
        assert silent.rest() == b""
    assert "Raise ulimit -n" in caplog.text
    assert served.post("half_plus_two:predict", TWO).status_code == 200


def test_no_room_beside_requests_in_progress(make) -> None:
    served = make("shapes", rest_max_connections=2, rest_api_timeout=3.0)
    slow = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(SLOW) + SLOW
    with Peer(served) as first, Peer(served) as second:
        first.send(slow)
        second.send(slow)
        until(lambda: in_progress(served) == 2)
        answer = exchange(served, b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"(2), each with a request in progress; try again later (--rest_max_connections)" in answer
        assert first.answer()[0] == second.answer()[0] == 504


def big_echo() -> bytes:
    body = json.dumps({"inputs": ["x" * 1500] * 8_000, "signature_name": "echo"}).encode()
    return b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_answers_that_nobody_reads_are_dropped(make, tmp_path: Path) -> None:
    log = tmp_path / "log"
    served = make("shapes", rest_write_timeout=0.3, access_log=str(log))
    with Peer(served) as connection:
        connection.send(big_echo())
        until(lambda: b"CANCELLED" in log.read_bytes())
        until(lambda: not rest(served).connections and not rest(served).connections.held_bytes)


def test_answers_waiting_longest_are_dropped_where_too_much_is_held(make, tmp_path: Path) -> None:
    """The requests fit beside each other, their answers, six times as long, do not."""
    log = tmp_path / "log"
    served = make("shapes", rest_max_buffered_bytes=30_000_000, rest_write_timeout=600.0, access_log=str(log))
    body = b'{"inputs": [1%s]}' % (b",1" * 999_999)
    request = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Peer(served)).send(request)
        until(lambda: b"CANCELLED" in log.read_bytes())
        until(lambda: in_progress(served) == 0 and rest(served).connections.held_bytes <= 30_000_000)
    until(lambda: rest(served).connections.held_bytes == 0)


def test_a_request_that_waits_for_a_thread_is_given_up_with_its_client(make, tmp_path: Path) -> None:
    log = tmp_path / "log"
    served = make("shapes", rest_api_num_threads=1, rest_api_timeout=3.0, access_log=str(log))
    slow = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(SLOW) + SLOW
    with Peer(served) as running:
        running.send(slow)
        until(lambda: in_progress(served) == 1)
        with Peer(served) as waiting:
            waiting.send(slow)
            until(lambda: in_progress(served) == 2)
        until(lambda: in_progress(served) == 1)
        assert json.loads(log.read_text())["code"] == "CANCELLED"
        assert running.answer()[0] == 504
    assert served.server.metrics.graph_runs.first_value() == 0  # a run that fails is not counted


def test_long_bodies_do_not_take_the_threads_of_short_ones(make) -> None:
    served = make("shapes", rest_api_num_threads=2, rest_api_timeout=300.0)
    long = SLOW + b" " * 2**20
    head = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n" % len(long)
    packed = gzipped(long)
    gzip_head = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Encoding: gzip\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(Peer(served)).send(head + b"\r\n" + long)
            packed_head = gzip_head + b"Content-Length: %d\r\n\r\n" % len(packed)
            stack.enter_context(Peer(served)).send(packed_head + packed)
        until(lambda: in_progress(served) == 4)
        assert served.post("shapes:predict", {"inputs": [1.0]}).json() == {"outputs": [1.0]}
        assert in_progress(served) == 4  # it did not wait for one of the slow ones


# ---- leaving ---------------------------------------------------------------------------------------


def test_requests_that_have_come_are_answered_when_the_server_stops(make) -> None:
    served = make("shapes", rest_api_timeout=1.5)
    slow = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(SLOW) + SLOW
    one = b'{"inputs": [1.0]}'
    half = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(one)
    with Peer(served) as running, Peer(served) as coming, Peer(served) as idle, Peer(served) as late:
        running.send(slow)
        coming.send(half)
        late.send(half + one)
        assert late.answer()[0] == 200
        until(lambda: in_progress(served) == 1 and len(rest(served).connections) == 4)
        stopper = threading.Thread(target=served.server.stop)
        stopper.start()
        until(lambda: rest(served).connections.draining)
        late.send(half + one)
        status, _, headers = late.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert idle.rest() == b""
        coming.send(one)
        status, _, headers = coming.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert running.answer()[0] == 504
        stopper.join(PATIENCE)
        assert not stopper.is_alive()


def test_connections_still_in_the_listen_queue_are_answered_when_the_server_stops(make) -> None:
    """They are open for the client; closing the listener would reset them with their requests."""
    served = make()
    loop, listener = rest(served).loop, rest(served)._socket
    unread = threading.Event()

    def stop_accepting() -> None:
        loop.remove_reader(listener.fileno())
        unread.set()

    loop.call_soon_threadsafe(stop_accepting)
    assert unread.wait(PATIENCE)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(Peer(served)) for _ in range(20)]
        for peer in waiting:
            peer.send(WHOLE)
        served.server.stop()
        assert [peer.answer()[0] for peer in waiting] == [200] * 20


def test_connections_that_are_just_being_accepted_are_answered_when_the_server_stops(make) -> None:
    """They come to the event loop in the same round as the end of the server."""
    served = make()
    server, held, goes_on = rest(served), threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        goes_on.wait(PATIENCE)

    server.loop.call_soon_threadsafe(hold)
    assert held.wait(PATIENCE)
    with contextlib.ExitStack() as stack:
        accepted = [stack.enter_context(Peer(served)) for _ in range(20)]
        for peer in accepted:
            peer.send(WHOLE)
        server.loop.call_soon_threadsafe(lambda: server.loop.create_task(server._drain(30.0)))
        goes_on.set()
        assert [peer.answer()[0] for peer in accepted] == [200] * 20


def test_a_new_connection_is_refused_while_the_server_stops(make) -> None:
    served = make("shapes", rest_api_timeout=1.0)
    slow = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(SLOW) + SLOW
    with Peer(served) as running:
        running.send(slow)
        until(lambda: in_progress(served) == 1)
        stopper = threading.Thread(target=served.server.stop)
        stopper.start()
        until(lambda: rest(served).connections.draining)
        with pytest.raises(ConnectionRefusedError):
            Peer(served)
        assert running.answer()[0] == 504
        stopper.join(PATIENCE)


def test_the_grace_period_is_kept(make) -> None:
    served = make("shapes", rest_api_timeout=0)
    slow = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(SLOW) + SLOW
    with Peer(served) as running:
        running.send(slow)
        until(lambda: in_progress(served) == 1)
        rest(served).stop(0.3)
        assert running.rest() == b""


def test_many_connections_and_requests_in_any_pieces(served) -> None:
    """Whatever the pieces in which bytes arrive, the answers are the same."""
    sent = WHOLE + CHUNKED + b"14\r\n" + TWO + b"\r\n0\r\n\r\n" + GET + b"\r\n"
    for step in (1, 2, 3, 7, 50):
        with Peer(served) as connection:
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(sent), step):
                connection.send(sent[start : start + step])
            assert [connection.answer()[0] for _ in range(3)] == [200, 200, 200]
