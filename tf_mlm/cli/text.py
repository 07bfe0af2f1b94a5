"""Texts given on the command line."""

from __future__ import annotations

from typing import Any

import click


class Text(click.ParamType):
    """A text. The shell may pass bytes that are no UTF-8; each becomes U+FFFD, which tokenizers drop."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
