"""Slow, silent and absent clients, and those who never read."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import select
import threading
from pathlib import Path

import pytest
from http_peer import (
    CHUNKED,
    GET,
    SLOW,
    TWO,
    WHOLE,
    Peer,
    counted,
    exchange,
    gzipped,
    in_progress,
    rest,
)
from waiting import eventually


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
        eventually(lambda: len(rest(served).connections) == 3)
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
        eventually(lambda: len(rest(served).connections) == 4)
        assert served.post("half_plus_two:predict", TWO).status_code == 200
        assert silent[0].rest() == b""
        known.send(WHOLE)  # it has been waiting for longer, but has asked before
        assert known.answer()[0] == 200


def test_one_whose_request_is_not_read_yet_makes_no_room(make) -> None:
    """Two connections come at once when there is room for one: an idle one goes, not the one that asks."""
    served = make(rest_max_connections_per_address=2)
    go_on = threading.Event()
    with contextlib.ExitStack() as stack:
        idle = stack.enter_context(Peer(served))
        idle.send(WHOLE)
        assert idle.answer()[0] == 200
        rest(served).loop.call_soon_threadsafe(go_on.wait, 60)
        asking = stack.enter_context(Peer(served))
        asking.send(WHOLE)
        stack.enter_context(Peer(served))
        go_on.set()
        assert asking.answer()[0] == 200
        assert idle.rest() == b""


def test_an_address_has_its_own_limit(make) -> None:
    served = make(rest_max_connections_per_address=2)
    with Peer(served, "127.0.0.2") as other, Peer(served) as first, Peer(served) as second:
        eventually(lambda: len(rest(served).connections) == 3)
        assert served.post("half_plus_two:predict", TWO).status_code == 200
        assert first.rest() == b""
        for connection in (other, second):
            connection.send(WHOLE)
            assert connection.answer()[0] == 200


def test_silent_connections_make_room_where_no_more_files_can_be_opened(make, caplog) -> None:
    served = make()
    loop = rest(served).loop
    with Peer(served) as silent:
        eventually(lambda: len(rest(served).connections) == 1)
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
        eventually(lambda: in_progress(served) == 2)
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
        eventually(lambda: b"CANCELLED" in log.read_bytes())
        eventually(lambda: not rest(served).connections and not rest(served).connections.held_bytes)


def test_answers_waiting_longest_are_dropped_where_too_much_is_held(make, tmp_path: Path) -> None:
    """The requests fit beside each other, their answers, six times as long, do not."""
    log = tmp_path / "log"
    served = make("shapes", rest_max_buffered_bytes=30_000_000, rest_write_timeout=600.0, access_log=str(log))
    body = b'{"inputs": [1%s]}' % (b",1" * 999_999)
    request = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Peer(served)).send(request)
        eventually(lambda: b"CANCELLED" in log.read_bytes())
        eventually(lambda: in_progress(served) == 0 and rest(served).connections.held_bytes <= 30_000_000)
    eventually(lambda: rest(served).connections.held_bytes == 0)


def test_a_request_that_waits_for_a_thread_is_given_up_with_its_client(make, tmp_path: Path) -> None:
    log = tmp_path / "log"
    served = make("shapes", rest_api_num_threads=1, rest_api_timeout=3.0, access_log=str(log))
    slow = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(SLOW) + SLOW
    with Peer(served) as running:
        running.send(slow)
        eventually(lambda: in_progress(served) == 1)
        with Peer(served) as waiting:
            waiting.send(slow)
            eventually(lambda: in_progress(served) == 2)
        eventually(lambda: in_progress(served) == 1)
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
        eventually(lambda: in_progress(served) == 4)
        assert served.post("shapes:predict", {"inputs": [1.0]}).json() == {"outputs": [1.0]}
        assert in_progress(served) == 4  # it did not wait for one of the slow ones
