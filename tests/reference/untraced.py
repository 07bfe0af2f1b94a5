"""Functions without graphs: of what is asked once or twice, tracing takes most of the time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def untraced(eagerly: bool = True) -> Iterator[None]:
    """Each `tf.function` of this process runs operation by operation, unless `eagerly` is false."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(eagerly)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
