"""The values in a file of JSON: lines, one array, or one object, read as a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tf_mlm.errors import ConfigError

_BLANK = re.compile(r"[ \t\r\n\ufeff]*")  # JSON's white space, and the byte-order marks of joined files


def json_values(path: Path, chunks: Iterable[str], longest: int) -> Iterator[tuple[int, Any]]:
    """Pairs of line number and value: those that follow each other (JSON lines), or a list's elements.

    Args:
        path: for messages.
        chunks: the text of the file, in pieces of any length.
        longest: a value of more characters is refused, so that memory stays bounded.

    Raises:
        ConfigError: naming file, line and column, for what is not JSON.

    Example:
        >>> from pathlib import Path
        >>> list(json_values(Path("a.json"), ['[{"text": "a"},', '\\n"b"]'], 100))
        [(1, {'text': 'a'}), (2, 'b')]
    """
    return _Reader(path, chunks, longest).values()


class _Reader:
    def __init__(self, path: Path, chunks: Iterable[str], longest: int) -> None:
        self._path, self._chunks, self._longest = path, iter(chunks), longest
        self._text, self._place = "", 0
        self._line, self._counted = 1, 0  # the line at a place of the text, not behind `_place`
        self._before = 0  # characters of that line that stood before the text
        self._decode = json.JSONDecoder().raw_decode

    def values(self) -> Iterator[tuple[int, Any]]:
        while character := self._next():
            if character == "[":
                yield from self._elements()
            else:
                yield self._value()

    def _elements(self) -> Iterator[tuple[int, Any]]:
        opened = self._line_of(self._place)
        self._place += 1
        if self._next() == "]":
            self._place += 1
            return
        while True:
            yield self._value()
            separator = self._next()
            if not separator:
                raise self._invalid(opened, "the list has no end")
            if separator not in ",]":
                raise self._unexpected(self._place, "Expecting ',' or ']'")
            self._place += 1
            if separator == "]":
                return

    def _next(self) -> str:
        """The next character that is not white space, still to be read; "" at the end."""
        while True:
            blank = _BLANK.match(self._text, self._place)
            self._place = blank.end() if blank else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Reads another piece and forgets what was used; False at the end."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._line_of(self._place)
        self._before = self._column_of(self._place) - 1
        self._text, self._place, self._counted = self._text[self._place :] + chunk, 0, 0
        return True

    def _line_of(self, place: int) -> int:
        """The line, from 1, of a place in the text."""
        line = self._line + self._text.count("\n", self._counted, place)
        if place <= self._place:
            self._line, self._counted = line, place
        return line

    def _column_of(self, place: int) -> int:
        """The column, from 1, of a place in the text."""
        start = self._text.rfind("\n", 0, place) + 1
        return place - start + 1 + (0 if start else self._before)

    def _value(self) -> tuple[int, Any]:
        if not self._next():
            raise self._unexpected(self._place, "Expecting value")
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except (ValueError, RecursionError) as error:  # RecursionError: nested without end
                left = len(self._text) - self._place
                if left <= self._longest and self._more():
                    continue  # it may only have been incomplete
                line = self._line_of(self._place)
                if left > self._longest:
                    raise ConfigError(
                        f"A JSON value may have {self._longest} characters. Received: `{self._path}`, line "
                        f"{line}, which has more. Cut its document into several, or remove it."
                    ) from None
                if isinstance(error, json.JSONDecodeError) and self._text[error.pos :].strip():
                    raise self._unexpected(error.pos, error.msg) from None
                what = "it has no end" if isinstance(error, json.JSONDecodeError) else str(error)
                raise self._invalid(line, what) from None
            line = self._line_of(self._place)
            self._place = end
            return line, value

    def _unexpected(self, place: int, what: str) -> ConfigError:
        return self._invalid(self._line_of(place), f"column {self._column_of(place)}: {what}")

    def _invalid(self, line: int, what: str) -> ConfigError:
        return ConfigError(
            f"A JSON file must be valid JSON: one value a line, or one list. Received: `{self._path}`, line "
            f"{line} ({what}). Mend or remove it."
        )
