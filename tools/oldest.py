"""Prints the oldest version of each dependency that pyproject.toml allows, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_BOUND = re.compile(r"^([\w-]+)(?:\[[\w,]+\])?>=([\w.]+)")


def oldest(pyproject: str) -> list[str]:
    """One constraint for each dependency, an error for one without a lower bound.

    Example:
        >>> oldest('[project]\\ndependencies = ["numpy>=1.26,<3", "httpcore[asyncio]>=1.0"]')
        ['numpy==1.26', 'httpcore==1.0']
    """
    found = []
    for dependency in tomllib.loads(pyproject)["project"]["dependencies"]:
        bound = _BOUND.match(dependency)
        if bound is None:
            raise ValueError(f"A dependency must have a lower bound. Received: {dependency!r}.")
        found.append(f"{bound[1]}=={bound[2]}")
    return found


if __name__ == "__main__":
    print("\n".join(oldest(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())))
