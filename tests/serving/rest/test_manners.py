"""HTTP itself: upgrades, versions, pipelines, chunks, halves."""

from __future__ import annotations

import json
import socket

import pytest
from http_peer import CHUNKED, GET, POST, TWO, WHOLE, Peer, exchange


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


def test_many_connections_and_requests_in_any_pieces(served) -> None:
    """Whatever the pieces in which bytes arrive, the answers are the same."""
    sent = WHOLE + CHUNKED + b"14\r\n" + TWO + b"\r\n0\r\n\r\n" + GET + b"\r\n"
    for step in (1, 2, 3, 7, 50):
        with Peer(served) as connection:
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(sent), step):
                connection.send(sent[start : start + step])
            assert [connection.answer()[0] for _ in range(3)] == [200, 200, 200]
