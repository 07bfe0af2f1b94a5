"""Verbs that compute."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import click


class TensorFlowVerb(click.Command):
    """Imports TensorFlow before the verb runs (not for its `--help`), without its start-up chatter."""

    def invoke(self, ctx: click.Context) -> Any:
        with contextlib.nullcontext() if ctx.obj["debug"] else _silent_stderr():
            import tensorflow
            import tensorflow_text  # noqa: F401

            tensorflow.keras  # noqa: B018  (imported on first use; it repeats the chatter)
        return super().invoke(ctx)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discards what C++ writes to standard error before its log level can be set."""
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(null)
        os.close(kept)
