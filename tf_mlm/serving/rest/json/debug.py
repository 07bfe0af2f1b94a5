"""How a JSON value is quoted in an error message: pretty, arrays on one line, cut after 256 bytes."""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any

_LIMIT = 256
_LONGEST_STRING = 512
_STEP = 64 * 1024
_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", 8: "\\b", 12: "\\f", 10: "\\n", 13: "\\r", 9: "\\t"}
_ESCAPES |= {code: f"\\u{code:04X}" for code in range(32) if code not in _ESCAPES}
_SPECIAL = re.compile(r'["\\\x00-\x1f]')


def quote(text: str) -> str:
    """A JSON string: only quotes, backslashes and control characters are escaped."""
    if len(text) <= _STEP:
        return f'"{_escape(text)}"'
    # One call for all of it would let nobody else run.
    return f'"{"".join(_escape(text[start : start + _STEP]) for start in range(0, len(text), _STEP))}"'


def _escape(text: str) -> str:
    if text.isascii():
        return text.translate(_ESCAPES)
    # Beyond ASCII `translate` looks up every character.
    return _SPECIAL.sub(lambda found: _ESCAPES[ord(found[0])], text)


def _quote_start(text: str) -> str:
    return quote(text if len(text) <= _LONGEST_STRING else text[:_LONGEST_STRING] + "...")


class _Full(Exception):
    pass


def type_name(value: Any) -> str:
    """Null, False, True, Object, Array, String or Number."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "Number")


def describe(value: Any) -> str:
    """The value as it appears in messages.

    Example:
        >>> from tf_mlm.serving.rest.json.debug import describe
        >>> describe([1, 2.5, "a"])
        '[1, 2.5, "a"]'
    """
    out: list[str] = []
    with contextlib.suppress(_Full):
        _write(value, out, 0)
    return "".join(out)


def _emit(out: list[str], text: str) -> None:
    """Nothing is written once the limit has been reached; what is being written is written whole."""
    if sum(len(part.encode("utf-8", "surrogateescape")) for part in out) >= _LIMIT:
        raise _Full
    out.append(text)


def _write(value: Any, out: list[str], depth: int, before: str = "") -> None:
    if isinstance(value, list):
        _emit(out, before + "[")
        for index, item in enumerate(value):
            _write(item, out, depth + 1, ", " if index else "")
        _emit(out, "]")
    elif isinstance(value, dict):
        _emit(out, before + "{")
        indent = "\n" + "    " * (depth + 1)
        for index, (key, item) in enumerate(value.items()):
            _emit(out, ("," if index else "") + indent + _quote_start(key))
            _write(item, out, depth + 1, ": ")
        _emit(out, ("\n" + "    " * depth if value else "") + "}")
    elif isinstance(value, float) and not math.isfinite(value):
        _emit(out, before)
        raise _Full
    elif isinstance(value, str):
        _emit(out, before + _quote_start(value))
    else:
        _emit(out, before + json.dumps(value))
