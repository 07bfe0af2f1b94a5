"""What importing the package and asking the command line for help cost, beside importing TensorFlow."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.contest import OURS, Contender, Outcome, compete


def outcomes(peers: bool) -> Iterator[Outcome]:
    """Whole processes, less nothing: an interpreter that does not import anything is a contender too."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def process(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=quiet)

    for work, arguments in (
        ("import tf_mlm", ("-c", "import tf_mlm")),
        ("tf-mlm --help", ("-m", "tf_mlm", "--help")),
    ):
        contenders: dict[str, Contender] = {
            OURS: functools.partial(process, *arguments),
            "import tensorflow": functools.partial(process, "-c", "import tensorflow"),
            "python alone": functools.partial(process, "-c", ""),
        }
        yield compete(work, contenders, rounds=5, tolerance=None)
