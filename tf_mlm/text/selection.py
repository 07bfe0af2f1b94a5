"""Which of many elements something holds for. The graph of a tokenizer asks this dozens of times.

`tf.boolean_mask` takes masks of every rank, and some fifteen operations for it; here it is four.
"""

from __future__ import annotations

import tensorflow as tf


def rows_where(condition: tf.Tensor) -> tf.Tensor:
    """int32 [count], ascending: where a bool [n] is true."""
    return tf.cast(tf.reshape(tf.where(condition), [-1]), tf.int32)


def selected(condition: tf.Tensor, *tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Of each tensor [n, ...] the rows for which a bool [n] is true, [count, ...]."""
    rows = rows_where(condition)
    return tuple(tf.gather(tensor, rows) for tensor in tensors)
