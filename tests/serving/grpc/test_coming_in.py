"""Who makes room among calls whose messages do not come."""

from __future__ import annotations

from tf_mlm.serving.grpc.coming_in import ComingIn


def test_the_connection_with_most_gives_up_its_oldest() -> None:
    coming_in: ComingIn[int] = ComingIn(4)
    coming_in.add(0, "ordinary")
    for number in range(1, 8):
        coming_in.add(number, "greedy")
    assert [coming_in.surplus(3), coming_in.surplus(3), len(coming_in)] == [[1, 2, 3], [4], 4]


def test_among_equals_the_oldest_goes() -> None:
    coming_in: ComingIn[int] = ComingIn(2)
    for number in range(4):
        coming_in.add(number, str(number))
    assert coming_in.surplus(9) == [0, 1]


def test_those_whose_message_has_come_leave_room() -> None:
    coming_in: ComingIn[int] = ComingIn(3)
    coming_in.add(-1, "one")
    for number in range(9):
        coming_in.add(number, "one")
        coming_in.discard(number, "one")
        coming_in.discard(number, "one")  # it may be over twice: by its message, and by its end
        assert coming_in.surplus(9) == []
    assert len(coming_in) == 1
