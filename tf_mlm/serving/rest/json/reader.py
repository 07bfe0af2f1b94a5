"""JSON as TF-Serving's parser reads it: RapidJSON's dialect, its error texts and offsets.

The dialect differs from the `json` module: `Inf` and `-NaN` are numbers, `1e400` is an error, the
first of equal keys wins, text after the value is ignored, bytes need not be UTF-8, nesting has no
limit. (RapidJSON's own Python binding does not help: it has a recursion limit, lets the last key
win and refuses trailing text and invalid UTF-8.)

Short bodies go through `json`'s C scanner as a whole. It keeps Python's lock until it is done, so
longer ones go through the iterative parser below, which hands small containers and runs of numbers
to the scanner, a piece at a time, and counts what it makes. What the scanner would take
differently, and every error, the iterative parser reads itself. All of it is linear in the body's
length. Strings come back with `surrogateescape`, so that any bytes survive.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

from tf_mlm.serving.errors import ServingError, invalid_argument
from tf_mlm.serving.rest.json.scalars import STEP, Failure, parse_scalar, parse_string

_BOM = b"\xef\xbb\xbf"
# Digits to 0, e and + to themselves, the rest to blanks: makes finding numbers that may not fit a double,
# or integers that may not fit 64 bits, a substring search.
_NUMBER_OUTLINE = bytes.maketrans(
    bytes(range(256)),
    bytes(
        48 if chr(c).isdigit() and c < 128 else c if c in b"e+" else 101 if c == 69 else 32
        for c in range(256)
    ),
)
_HUGE = (b"e000", b"e+000", b"0" * 20)
_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SMALL = 2048
_RUN = re.compile(r"[0-9eE+\-.,truefalsn \t\n\r]*")
_CLOSERS = {"[": "],", "{": "},"}
_SHORTEST_RUN = 16
# A list or an object counts for so many values, as it takes their memory.
_CONTAINER = 8
_DEEPEST_PIECE = 8
UNLIMITED = 2**63
_SPACE = re.compile(r"[ \t\n\r]*")


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        members = dict(reversed(pairs))
    return members


_SCANNER = json.JSONDecoder(object_pairs_hook=_first_wins)


def parse(body: bytes | bytearray, max_values: int = UNLIMITED) -> Any:
    """The value a body holds.

    Objects are dicts, arrays lists, integers that fit int64 or uint64 `int`, other numbers `float`.

    Args:
        max_values: how many numbers, strings and so on are taken; a list or object counts for eight.

    Raises:
        ServingError: INVALID_ARGUMENT with RapidJSON's description and byte offset, or for more
            values than are taken.

    Example:
        >>> from tf_mlm.serving.rest.json.reader import parse
        >>> parse(b'{"a": [1, -Inf], "a": 2} trailing')
        {'a': [1, -inf]}
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    start = len(_BOM) if body.startswith(_BOM) else 0
    text = _decode(body[start:] if start else body)
    if len(body) <= min(STEP, max_values // _CONTAINER) and _is_plain(body):
        try:
            value = _SCANNER.raw_decode(text, _SPACE.match(text).end())[0]  # type: ignore[union-attr]
            if isinstance(value, dict):  # the scanner stops early at a bare `1.`; only objects are requests
                return value
        except (ValueError, RecursionError):
            pass
    try:
        return _parse(text, max_values)
    except Failure as failure:
        offset = start + len(text[: failure.position].encode("utf-8", "surrogateescape"))
        raise invalid_argument(f"JSON Parse error: {failure.text} at offset: {offset}") from None


def _decode(data: bytes | bytearray) -> str:
    """A step at a time: bytes that are no UTF-8 take long, and the codec keeps Python's lock."""
    if len(data) <= STEP:
        return data.decode("utf-8", "surrogateescape")
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    parts = [decoder.decode(data[begin : begin + STEP]) for begin in range(0, len(data), STEP)]
    return "".join([*parts, decoder.decode(b"", final=True)])


def _is_plain(data: bytes | bytearray) -> bool:
    """Whether the C scanner takes all of it as we do: no numbers that may not fit, no lone surrogates."""
    if b"\\u" in data:
        escapes = data.replace(b"\\\\", b" ")  # what is left of a backslash begins an escape
        if _SURROGATE.search(_PAIR.sub(b" ", escapes)):
            return False
    outline = data.translate(_NUMBER_OUTLINE)
    return not any(huge in outline for huge in _HUGE)


def _scan(piece: str) -> tuple[Any, int] | None:
    """The value at the beginning of a piece and its end, if the C scanner can tell."""
    try:
        value, end = _SCANNER.scan_once(piece, 0)  # type: ignore[attr-defined]
    except (StopIteration, ValueError, RecursionError):
        return None
    return (value, end) if _is_plain(piece[:end].encode("utf-8", "surrogateescape")) else None


def _too_many(max_values: int) -> ServingError:
    return invalid_argument(
        f"The request holds more than {max_values} JSON values (--rest_max_json_values); "
        "send fewer rows at once, or use gRPC"
    )


def _count(value: Any) -> int:
    """How many values a value is made of."""
    if isinstance(value, dict):
        return _CONTAINER + sum(map(_count, value.values()))
    return _CONTAINER + sum(map(_count, value)) if isinstance(value, list) else 1


def _scan_container(text: str, position: int) -> tuple[Any, int] | None:
    """A list or object and its end, if it is small."""
    found = _scan(text[position : position + _SMALL])
    return (found[0], position + found[1]) if found else None


def _scan_run(text: str, position: int) -> tuple[list[Any], int]:
    """Items of a list up to a comma or its end: numbers, booleans and nulls, or lists, or objects.

    Returns them and where they end; without any, up to where the scanner has read in vain.
    """
    limit = position + STEP
    closer = _CLOSERS.get(text[position])
    if closer:
        end, read = text.rfind(closer, position, limit) + 1, limit
    else:
        end = read = _RUN.match(text, position, limit).end()  # type: ignore[union-attr]
        if text[end : end + 1] != "]":
            end = text.rfind(",", position, end)
    if end - position < _SHORTEST_RUN:
        return [], read
    found = _scan(f"[{text[position:end]}]")
    if found is None or found[1] != end - position + 2:
        return [], read
    return found[0], end


def _parse(text: str, max_values: int = UNLIMITED) -> Any:
    """Iterative descent: `stack` holds the open containers, `keys` the member name awaiting its value."""
    stack: list[Any] = []
    keys: list[str] = []
    count = 0
    tried = [0, 0]  # up to where runs of scalars, and of lists or objects, have been looked for
    run: list[Any]
    value: Any
    position = _skip(text, 0)
    if position == len(text) or text[position] in "]},:":
        raise Failure("The document is empty.", position)
    while True:
        # A value is due at `position`.
        opener = text[position : position + 1]
        nested = opener in ("[", "{")
        count += _CONTAINER if nested else 1
        if nested and count > max_values:
            raise _too_many(max_values)
        run, small = [], None
        if stack and opener not in ('"', "") and position >= tried[nested] and isinstance(stack[-1], list):
            run, tried[nested] = _scan_run(text, position)
        if not run and nested and len(stack) < _DEEPEST_PIECE:
            small = _scan_container(text, position)
        if run:
            value = run.pop()
            stack[-1] += run
            count += _count(run) + _count(value) - 2 * _CONTAINER if nested else len(run)
            position = tried[nested]
        elif small:
            value, position = small
            count += _count(value) - _CONTAINER
        elif opener == "[":
            position = _skip(text, position + 1)
            if text[position : position + 1] != "]":
                stack.append([])
                continue
            value = []
            position += 1
        elif opener == "{":
            position = _skip(text, position + 1)
            if text[position : position + 1] != "}":
                stack.append({})
                key, position = _parse_key(text, position)
                keys.append(key)
                continue
            value = {}
            position += 1
        else:
            value, position = parse_scalar(text, position)
        if count > max_values:
            raise _too_many(max_values)
        # A value has ended: put it into its container, close what closes.
        while True:
            if not stack:
                return value
            container = stack[-1]
            position = _skip(text, position)
            follower = text[position : position + 1]
            if isinstance(container, list):
                container.append(value)
                if follower not in (",", "]"):
                    raise Failure("Missing a comma or ']' after an array element.", position)
            else:
                container.setdefault(keys.pop(), value)
                if follower not in (",", "}"):
                    raise Failure("Missing a comma or '}' after an object member.", position)
            position += 1
            if follower == ",":
                position = _skip(text, position)
                if isinstance(container, dict):
                    key, position = _parse_key(text, position)
                    keys.append(key)
                elif text[position : position + 1] == "]":
                    raise Failure("Invalid value.", position)
                break
            value = stack.pop()


def _skip(text: str, position: int) -> int:
    return _SPACE.match(text, position).end()  # type: ignore[union-attr]


def _parse_key(text: str, position: int) -> tuple[str, int]:
    if text[position : position + 1] != '"':
        raise Failure("Missing a name for object member.", position)
    key, position = parse_string(text, position + 1)
    position = _skip(text, position)
    if text[position : position + 1] != ":":
        raise Failure("Missing a colon after a name of object member.", position)
    return key, _skip(text, position + 1)
