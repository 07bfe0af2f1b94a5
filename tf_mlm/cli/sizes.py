"""Options whose value is a list of sizes, such as `--length-buckets 16,32,64`."""

from __future__ import annotations

from typing import Any

import click


class Sizes(click.ParamType):
    """Comma-separated whole numbers as a tuple."""

    name = "N,N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 16,32,64.", param, ctx)
