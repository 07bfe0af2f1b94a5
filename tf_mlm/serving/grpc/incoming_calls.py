"""Which call makes room when too many have begun whose messages have not come."""

from __future__ import annotations

import collections
from typing import Generic, TypeVar

T = TypeVar("T")


class IncomingCalls(Generic[T]):
    """Calls whose messages are coming in, by the connection they came on, oldest first.

    The connection that has most of them gives one up: one that opens calls by the thousand makes room out of
    its own, and a client with a call or two is never among those that have to go. Not thread-safe.

    Args:
        most: how many there may be.

    Example:
        >>> incoming = IncomingCalls(2)
        >>> for call, connection in (("a", "x"), ("b", "y"), ("c", "y")):
        ...     incoming.add(call, connection)
        >>> incoming.surplus(10)
        ['b']
    """

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._by_connection: dict[str, collections.OrderedDict[T, None]] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, call: T, connection: str) -> None:
        """A call has begun."""
        self._by_connection.setdefault(connection, collections.OrderedDict())[call] = None
        self._count += 1

    def discard(self, call: T, connection: str) -> None:
        """Its message has come, or it is over."""
        calls = self._by_connection.get(connection)
        if calls is not None and call in calls:
            del calls[call]
            self._count -= 1
            if not calls:
                del self._by_connection[connection]

    def surplus(self, at_once: int) -> list[T]:
        """Takes out those that have to go, as many of them as may go at once."""
        gone: list[T] = []
        while self._count > self._most and len(gone) < at_once:
            greediest = max(self._by_connection, key=lambda name: len(self._by_connection[name]))
            gone.append(next(iter(self._by_connection[greediest])))
            self.discard(gone[-1], greediest)
        return gone
