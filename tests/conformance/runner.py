"""Runs cases one after the other and keeps what came of each."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from conformance.case import Case, Needs


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A case and, where it failed, why in one line; `seconds` of wall-clock time."""

    case: Case
    failure: str | None
    seconds: float

    @property
    def passed(self) -> bool:
        return self.failure is None

    def to_json(self) -> dict[str, Any]:
        return {
            "section": self.case.section,
            "case": self.case.title,
            "passed": self.passed,
            "failure": self.failure,
            "seconds": round(self.seconds, 3),
        }


def run(cases: Iterable[Case], targets: dict[Needs, Callable[[], Any]]) -> Iterator[Outcome]:
    """Outcomes in the order of the cases. Anything a case raises counts as its failure."""
    for case in cases:
        start = time.monotonic()
        failure = None
        try:
            case.check(targets[case.needs]())
        except AssertionError as error:
            failure = str(error) or traceback.format_exc(limit=-1)
        except Exception as error:
            failure = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        yield Outcome(case, failure, time.monotonic() - start)
