"""Heads and bodies without end, and gzip."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from http_peer import CHUNKED, GET, POST, TWO, WHOLE, Peer, counted, gzipped, rest, stream
from waiting import eventually


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
        eventually(lambda: counted(served, "RESOURCE_EXHAUSTED"))
        assert rest(served).connections.held_bytes <= 300_000 + 65536
        assert served.post("half_plus_two:predict", TWO).status_code == 200  # short ones are taken
    eventually(lambda: rest(served).connections.held_bytes == 0)


def test_a_name_without_end_is_cut_in_the_answer(served) -> None:
    reply = served.http.get("/v1/models/" + "n" * 20_000)
    assert reply.status_code == 404
    assert reply.json()["error"].endswith("...TRUNCATED")
    assert len(reply.content) < 17_000


# ---- gzip ------------------------------------------------------------------------------------------


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
