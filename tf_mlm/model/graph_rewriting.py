"""TensorFlow's rewriting of graphs (Grappler), and how to do without it.

It takes seconds a signature, whenever a program first runs it, and these models gain nothing: under XLA
none of it is used, and without, answers take as long with it as without (MiniLM, 1 and 8 texts).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def graphs_as_written() -> Iterator[None]:
    """What is traced or first run here is not rewritten; nor is what was traced here, once it is saved.

    Example:
        >>> with graphs_as_written():
        ...     tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"]
        True
    """
    options = tf.config.optimizer
    before = options.get_experimental_options().get("disable_meta_optimizer", False)
    options.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        options.set_experimental_options({"disable_meta_optimizer": before})
