"""Who makes room among calls whose messages do not come."""

from __future__ import annotations

from tf_mlm.serving.grpc.coming_in import ComingIn


def test_the_connection_with_most_gives_up_its_oldest() -> None:
    coming_in: ComingIn[int] = ComingIn(4)
    assert coming_in.add(0, "ordinary") is None
    assert [coming_in.add(number, "greedy") for number in range(1, 8)] == [None, None, None, 1, 2, 3, 4]


def test_among_equals_the_oldest_goes() -> None:
    coming_in: ComingIn[int] = ComingIn(2)
    assert [coming_in.add(number, str(number)) for number in range(4)] == [None, None, 0, 1]


def test_those_whose_message_has_come_leave_room() -> None:
    coming_in: ComingIn[int] = ComingIn(2)
    for number in range(9):
        assert coming_in.add(number, "one") is None
        coming_in.discard(number, "one")
        coming_in.discard(number, "one")  # it may be over twice: by its message, and by its end
    assert [coming_in.add(number, "one") for number in range(3)] == [None, None, 0]
