"""Who makes room among calls whose messages do not come."""

from __future__ import annotations

from tf_mlm.serving.grpc.incoming_calls import IncomingCalls


def test_the_connection_with_most_gives_up_its_oldest() -> None:
    incoming: IncomingCalls[int] = IncomingCalls(4)
    incoming.add(0, "ordinary")
    for number in range(1, 8):
        incoming.add(number, "greedy")
    assert [incoming.surplus(3), incoming.surplus(3), len(incoming)] == [[1, 2, 3], [4], 4]


def test_among_equals_the_oldest_goes() -> None:
    incoming: IncomingCalls[int] = IncomingCalls(2)
    for number in range(4):
        incoming.add(number, str(number))
    assert incoming.surplus(9) == [0, 1]


def test_those_whose_message_has_come_leave_room() -> None:
    incoming: IncomingCalls[int] = IncomingCalls(3)
    incoming.add(-1, "one")
    for number in range(9):
        incoming.add(number, "one")
        incoming.discard(number, "one")
        incoming.discard(number, "one")  # it may be over twice: by its message, and by its end
        assert incoming.surplus(9) == []
    assert len(incoming) == 1
