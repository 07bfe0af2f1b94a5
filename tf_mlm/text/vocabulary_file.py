"""The lines of a `vocab.txt`."""

from __future__ import annotations

import codecs
from pathlib import Path

from tf_mlm.errors import ConfigError
from tf_mlm.text.code_points import WHITE_SPACE


def read_lines(path: Path) -> list[str]:
    """The lines of a vocabulary, without the blanks and line ends behind them, nor empty ones at the end.

    Raises:
        ConfigError: naming the file, and the line where there is one.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"`{path}` does not exist. Give a file with one token per line.") from None
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be read: {error.strerror}.") from error
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"A vocabulary must be UTF-8; `{path}`, line {line} holds the byte "
            f"0x{content[error.start]:02x}, which is not. Save the file again as UTF-8."
        ) from None
    lines = [line.rstrip(WHITE_SPACE) for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines
