"""The parts of JSON without parts: strings, numbers and words, in RapidJSON's dialect."""

from __future__ import annotations

import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

# What the scanner is given at once: some 0.1 to 1 ms of work.
STEP = 64 * 1024
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]*)?", re.ASCII)
_ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})')
_STRING_STOP = re.compile(r'["\\\x00-\x1f]')
# What a string is made of; the two halves of a surrogate pair stay together.
_PIECE = re.compile(
    r'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u(?![dD][89abAB])[0-9a-fA-F]{4}'
    r"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*+"
)
_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}
_INT64, _UINT64 = -(2**63), 2**64


class Failure(Exception):
    """What RapidJSON would say, and where in the text."""

    def __init__(self, text: str, position: int) -> None:
        super().__init__(text)
        self.text, self.position = text, position


def is_integer(value: Any) -> bool:
    """Whether a parsed number counts as an integer (RapidJSON turns what exceeds uint64 into a double)."""
    return type(value) is int and _INT64 <= value < _UINT64


def parse_scalar(text: str, position: int) -> tuple[Any, int]:
    """The string, number or word at a position, and its end."""
    first = text[position : position + 1]
    if first == '"':
        return parse_string(text, position + 1)
    if first in _WORDS:
        word, value = _WORDS[first]
        return value, _consume(text, position, word)
    return _parse_number(text, position)


def _consume(text: str, position: int, word: str) -> int:
    for letter in word:
        if text[position : position + 1] != letter:
            raise Failure("Invalid value.", position)
        position += 1
    return position


def _parse_number(text: str, position: int) -> tuple[float, int]:
    found = _NUMBER.match(text, position)
    if found is None:
        minus = text[position : position + 1] == "-"
        value, end = _parse_non_finite(text, position + minus)
        return (-value if minus else value), end
    whole, fraction, exponent = found.groups()
    if fraction == ".":
        raise Failure("Miss fraction part in number.", found.end(2))
    if exponent is not None and not exponent[-1].isdigit():
        raise Failure("Miss exponent in number.", found.end())
    if fraction is None and exponent is None and len(whole) <= 20:
        integer = int(found.group())
        return (integer if is_integer(integer) else float(integer)), found.end()
    number = float(found.group())
    if number in (float("inf"), float("-inf")):
        raise Failure("Number too big to be stored in double.", position)
    return number, found.end()


def _parse_non_finite(text: str, position: int) -> tuple[float, int]:
    if text[position : position + 1] == "N":
        return float("nan"), _consume(text, position, "NaN")
    if text[position : position + 1] == "I":
        position = _consume(text, position, "Inf")
        if text[position : position + 1] == "i":
            position = _consume(text, position, "inity")
        return float("inf"), position
    raise Failure("Invalid value.", position)


def _unescape_piece(piece: str) -> str | None:
    """What a piece of a string stands for, `None` where the C scanner would take it differently."""
    value: str = scanstring(piece + '"', 0, True)[0]
    if "\\u" not in piece:
        return value
    try:
        value.encode()
        return value
    except UnicodeEncodeError:  # surrogates, from escapes or from bytes that are no UTF-8
        if not piece.isascii():
            return None
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


def parse_string(text: str, start: int) -> tuple[str, int]:
    """A string whose opening quote stands before `start`, by the C scanner a step at a time."""
    pieces: list[str] = []
    position = start
    while True:
        end = _PIECE.match(text, position, position + STEP).end()  # type: ignore[union-attr]
        whole = text[end : end + 1] == '"'
        piece = _unescape_piece(text[position:end]) if end > position or whole else None
        if piece is None:
            return _parse_string_exactly(text, start)
        pieces.append(piece)
        if whole:
            return "".join(pieces), end + 1
        position = end


def _parse_string_exactly(text: str, start: int) -> tuple[str, int]:
    """Escape by escape: for lone surrogates among bytes that are no UTF-8, and for errors."""
    position = start
    parts: list[str] = []
    chunk = start
    while True:
        stop = _STRING_STOP.search(text, position)
        if stop is None or stop.group() == "\0":
            raise Failure("Missing a closing quotation mark in string.", stop.start() if stop else len(text))
        position = stop.start()
        if stop.group() == '"':
            parts.append(text[chunk:position])
            return "".join(parts), position + 1
        if stop.group() != "\\":
            raise Failure("Invalid escape character in string.", position)
        escape = _ESCAPE.match(text, position)
        if escape is None:
            bad_hex = text[position + 1 : position + 2] == "u"
            reason = (
                "Incorrect hex digit after \\u escape in string."
                if bad_hex
                else ("Invalid escape character in string.")
            )
            raise Failure(reason, position)
        character, end = _unescape(text, escape)
        parts += [text[chunk:position], character]
        position = chunk = end


def _unescape(text: str, escape: re.Match[str]) -> tuple[str, int]:
    name = escape.group(1)
    if name[0] != "u":
        return _ESCAPED[name], escape.end()
    unit = int(name[1:], 16)
    if 0xD800 <= unit <= 0xDBFF:
        low = _ESCAPE.match(text, escape.end())
        second = int(low.group(1)[1:], 16) if low and low.group(1)[0] == "u" else 0
        if low is None or not 0xDC00 <= second <= 0xDFFF:
            raise Failure("The surrogate pair in string is invalid.", escape.start())
        return chr(0x10000 + ((unit - 0xD800) << 10 | second - 0xDC00)), low.end()
    if unit >= 0xDC00 and unit <= 0xDFFF:
        # A lone low surrogate is let through as its three bytes.
        return chr(unit).encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"), escape.end()
    return chr(unit), escape.end()
