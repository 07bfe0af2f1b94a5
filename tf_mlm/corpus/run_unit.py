"""One unit, from its rows to its part: the function that every engine calls.

It may run twice, late, or on two machines at once: the part is the same to the last byte, appears whole, and
one that is there already is not computed again.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from tf_mlm.corpus.plan import Job
from tf_mlm.corpus.rows import Row, rows_of
from tf_mlm.corpus.storage import Output
from tf_mlm.errors import TfMlmError

BATCHES = 32
"""So many requests' texts are sorted by length and written at a time; memory stays that of these."""


class Done(NamedTuple):
    """What became of a unit.

    Attributes:
        unit: its number.
        rows, failed, tokens: how many there were; of a part that was there already, none.
        seconds: how long it took.
        error: why the unit has no part, if it has none.
        fatal: whether no other unit can do better: the model could not be loaded.
    """

    unit: int
    rows: int = 0
    failed: int = 0
    tokens: int = 0
    seconds: float = 0.0
    error: str | None = None
    fatal: bool = False


def run_unit(job: Job, index: int) -> Done:
    """Does a unit, unless its part is there already.

    Returns:
        What became of it; errors of the corpus, of the model and of the system are part of it, so that an
        engine repeats only what may do better: units whose worker died.
    """
    begun = time.monotonic()
    try:
        if Output(job.output).holds(job.part(index)):
            return Done(index)
        worker = _worker(job)
    except (TfMlmError, OSError, ValueError, RuntimeError, ImportError) as error:
        return Done(index, error=_said(error), fatal=True)
    try:
        rows, failed, tokens = worker(job, index)
    except (TfMlmError, OSError, ValueError, RuntimeError, ArithmeticError) as error:
        return Done(index, seconds=time.monotonic() - begun, error=_said(error))
    return Done(index, rows, failed, tokens, time.monotonic() - begun)


_models: dict[tuple[bool, str, str, int], Any] = {}
"""The model of this process; a job has one, so there is never another beside it."""


def _worker(job: Job) -> Any:
    """What does the units of a job in this process."""
    key = (job.verb == "tokenize", job.target, job.model, job.options.get("top_k") or 1)
    if key not in _models:
        _models.clear()
        if job.verb == "tokenize":
            from tf_mlm.corpus.tokenize import preprocessor_of

            _models[key] = preprocessor_of(job.target)
        else:
            from tf_mlm.target.open import open_target

            _models[key] = open_target(job.target, key[-1])
    if job.verb == "tokenize":
        from tf_mlm.corpus.tokenize import Tokenizing

        return Tokenizing(_models[key])
    from tf_mlm.corpus.answers import asker

    return Asking(asker(_models[key], job.verb, job.options))


class Asking:
    """Puts the rows of units to whatever answers them.

    Args:
        ask: gives the answers of texts, or refuses one of them by an `InvalidInputError`.
    """

    def __init__(self, ask: Any) -> None:
        self._ask = ask

    def __call__(self, job: Job, index: int) -> tuple[int, int, int]:
        """Writes the part of a unit; the number of its rows, of those that failed, and of tokens."""
        from tf_mlm.corpus.answers import answers
        from tf_mlm.corpus.parts import open_part

        count = failed = tokens = 0
        unit, batch = job.units[index], job.options["batch"]
        found = rows_of(unit, job.place(unit.file), job.fields)
        with (
            Output(job.output).appearing(job.part(index)) as path,
            open_part(path, job.verb, job.options) as part,
        ):
            for rows in chunks(found, batch * BATCHES):
                texts = [row.text for row in rows if row.text is not None]
                given = iter(answers(self._ask, texts, batch))
                written = []
                for row in rows:
                    fields: dict[str, Any] = {"error": row.error}
                    if row.text is not None:
                        answer = next(given)
                        fields, tokens = answer.fields, tokens + answer.tokens
                    failed += "error" in fields
                    written.append({"id": row.id, **fields})
                part.add(written)
                count += len(rows)
        return count, failed, tokens


def chunks(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """The rows, so many at a time."""
    while some := list(itertools.islice(rows, size)):
        yield some


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename:
        advice = "Check the path, the space on the disk, and what you may do there."
        return f"{error.strerror}: `{error.filename}`. {advice}"
    return " ".join(str(error).split()) or f"{type(error).__name__} on {os.uname().nodename}"
