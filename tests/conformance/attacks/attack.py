"""One attack, the kind that collects attacks, and the rules every answer must keep."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.attacks.site import Site

# An attack may do as it likes with its own connections, but the server never answers it with these.
FORBIDDEN_CODES = frozenset({"UNKNOWN", "INTERNAL", "DATA_LOSS"})
FORBIDDEN_STATUSES = frozenset({500, 502})


@dataclasses.dataclass(frozen=True)
class Attack:
    """What a stranger does. `run` returns the size in bytes of one request, which memory may grow by.

    Attributes:
        kind: the family it belongs to.
        own_server: it starts and ends servers itself, so no ordinary client stands beside it.
    """

    kind: str
    title: str
    run: Callable[[Site], int | None]
    own_server: bool = False

    @property
    def name(self) -> str:
        """A name that pytest and `--list` show, unique among the attacks."""
        return re.sub(r"[^\w]+", "_", f"{self.kind} {self.title}").strip("_")


class Kind:
    """The attacks of one kind, in the order they are declared.

    Args:
        title: the kind's name.
        models: the model configuration that its server has: `most`, or `all`, with an export with XLA.
        batching: the server merges requests into batches.

    Example:
        >>> from conformance.attacks.attack import Kind
        >>> kind = Kind("manners")
        >>> @kind.attack("nothing at all")
        ... def _(site): ...
        >>> [attack.name for attack in kind.attacks]
        ['manners_nothing_at_all']
    """

    def __init__(self, title: str, models: str = "most", batching: bool = False) -> None:
        self.title = title
        self.models, self.batching = models, batching
        self.attacks: list[Attack] = []

    def attack(
        self, title: str, own_server: bool = False
    ) -> Callable[[Callable[[Site], int | None]], Callable[[Site], int | None]]:
        """Registers the decorated function."""

        def register(run: Callable[[Site], int | None]) -> Callable[[Site], int | None]:
            if any(attack.title == title for attack in self.attacks):
                raise ValueError(
                    f"Titles of a kind must differ. Received twice in {self.title!r}: {title!r}."
                )
            self.attacks.append(Attack(self.title, title, run, own_server))
            return run

        return register
