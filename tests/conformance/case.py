"""One case of the contract, and the section that collects cases."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[..., object]


class Needs(enum.Enum):
    """What a case must be given before it can run."""

    SERVER = "a server on the model repository"
    BATCHING = "a server on the model repository, started with the batching flags"
    LAUNCHER = "the right to start and stop servers"
    PROCESS = "a server process for itself, which costs a start of some seconds"


@dataclasses.dataclass(frozen=True)
class Case:
    """A single observable behaviour. `check` raises AssertionError where the server differs.

    A check receives a `Server` (Needs.SERVER and Needs.BATCHING) or a `Launcher` (the other needs).
    """

    section: str
    title: str
    needs: Needs
    check: Check

    @property
    def name(self) -> str:
        """A name that pytest and `--list` show, unique in the suite."""
        return re.sub(r"[^\w:/?%+.-]+", "_", f"{self.section}: {self.title}").strip("_")[:120]


class Section:
    """The cases of one section of the contract, in the order they are declared.

    Example:
        >>> from conformance.case import Needs, Section
        >>> section = Section("0 Example", Needs.SERVER)
        >>> @section.case("one and one make two")
        ... def _(server):
        ...     assert 1 + 1 == 2
        >>> [case.name for case in section.cases]
        ['0_Example:_one_and_one_make_two']
    """

    def __init__(self, title: str, needs: Needs) -> None:
        self.title = title
        self.needs = needs
        self.cases: list[Case] = []

    def add(self, title: str, check: Check, needs: Needs | None = None) -> None:
        if any(case.title == title for case in self.cases):
            raise ValueError(f"Titles of a section must differ. Received twice in {self.title!r}: {title!r}.")
        self.cases.append(Case(self.title, title, needs or self.needs, check))

    def each(
        self,
        rows: Mapping[Any, tuple[Any, ...]],
        check: Callable[..., object],
        title: str = "{}",
        needs: Needs | None = None,
    ) -> None:
        """One case for each row of a table, `check(target, *row)`; its title says the row's key."""
        for key, row in rows.items():
            self.add(title.format(key), lambda target, row=row: check(target, *row), needs)  # type: ignore[misc]

    def case(self, title: str, needs: Needs | None = None) -> Callable[[Check], Check]:
        """Registers the decorated check; `needs` differs from the section's where it is given."""

        def register(check: Check) -> Check:
            self.add(title, check, needs)
            return check

        return register
