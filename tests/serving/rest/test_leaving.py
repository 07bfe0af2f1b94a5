"""What becomes of connections and requests when the server stops."""

from __future__ import annotations

import contextlib
import threading

import pytest
from http_peer import PATIENCE, SLOW, WHOLE, Peer, in_progress, rest
from waiting import eventually


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
        eventually(lambda: in_progress(served) == 1 and len(rest(served).connections) == 4)
        stopper = threading.Thread(target=served.server.stop)
        stopper.start()
        eventually(lambda: rest(served).connections.draining)
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
        eventually(lambda: in_progress(served) == 1)
        stopper = threading.Thread(target=served.server.stop)
        stopper.start()
        eventually(lambda: rest(served).connections.draining)
        with pytest.raises(ConnectionRefusedError):
            Peer(served)
        assert running.answer()[0] == 504
        stopper.join(PATIENCE)


def test_the_grace_period_is_kept(make) -> None:
    served = make("shapes", rest_api_timeout=0)
    slow = b"POST /v1/models/shapes:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(SLOW) + SLOW
    with Peer(served) as running:
        running.send(slow)
        eventually(lambda: in_progress(served) == 1)
        rest(served).stop(0.3)
        assert running.rest() == b""
