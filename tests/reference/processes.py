"""What a program prints in processes of their own, which hash and divide work in other ways."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator


def printed(program: str, *arguments: object, threads: tuple[int, ...] = (1, 2, 4)) -> Iterator[bytes]:
    """The output of `program`, once for each number of the library's threads."""
    for count in threads:
        yield subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            check=True,
            capture_output=True,
            timeout=120,
            env={**os.environ, "RAYON_NUM_THREADS": str(count)},
        ).stdout
