"""Verbs that compute."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from tf_mlm.lean_import import silent_stderr


class TensorFlowVerb(click.Command):
    """Imports TensorFlow before the verb runs (not for its `--help`), without its start-up chatter."""

    def invoke(self, ctx: click.Context) -> Any:
        with contextlib.nullcontext() if ctx.obj["debug"] else silent_stderr():
            import tensorflow
            import tensorflow_text  # noqa: F401

            tensorflow.keras  # noqa: B018  (imported on first use; it repeats the chatter)
        return super().invoke(ctx)
