"""`log.jsonl`: what a run reports at each step and evaluation, one JSON object a line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log, in order; what is not one, as a line that was cut off, is left out.

    Raises:
        OSError: if there is a log that cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> _ = path.write_bytes(b'{"event": "step", "step": 1}\\n\\xff\\n[]\\n{"event": "st')
        >>> read_log(path)
        [{'event': 'step', 'step': 1}]
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    records = (_record(line) for line in data.split(b"\n"))
    return [record for record in records if record is not None]


def numbers(records: list[dict[str, Any]], *names: str) -> list[tuple[float, ...]]:
    """The values of `names` in every record that has a number for each of them."""
    rows = ([record.get(name) for name in names] for record in records)
    return [tuple(row) for row in rows if all(_is_number(value) for value in row)]  # type: ignore[arg-type]


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(record, dict) and isinstance(record.get("event"), str) and _is_number(record.get("step")):
        return record
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
