"""Rows times the transpose of a matrix that is stored an output after the other, in the order a CPU likes.

`rows` [count, inputs] and `matrix` [outputs, inputs] make [count, outputs]. The product can be taken as
`rows @ matrix.T` or, with the outputs first, as `matrix @ rows.T`, transposed afterwards. The numbers are the
same and the times are not: for few rows the matrix belongs on the left, which is up to twice as fast. For
many rows it makes little difference for the kernel of a layer, while for the table of a vocabulary on the
right, transposed, TensorFlow's CPU kernel is up to ten times slower (docs/performance.md).

XLA's CPU compiler turns a product that is transposed into the product of the other order. What stands
between the two, as a bias does, prevents that: so it comes before the transposition for few rows and behind
it for many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mlm.layers.compact_weight import is_multiplied_as_stored
from tf_mlm.layers.int8_weight import reads_int8

FEW_ROWS = 256
"""Up to so many rows a CPU multiplies faster with a layer's kernel on the left."""
FEW_TABLE_ROWS = 64
"""The same for the order that XLA is to leave a vocabulary's table in."""

Finish = Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]
"""What comes behind a product: logits and the bias, shaped to be added to them, or None → logits."""


def times_kernel(rows: tf.Tensor, kernel: Any, bias: tf.Tensor | None) -> tf.Tensor:
    """`rows @ kernel.T + bias`: [count, inputs], [outputs, inputs] and [outputs] → [count, outputs].

    The kernel may be of another dtype than the rows, or a `CompactWeight`.

    Example:
        >>> times_kernel(tf.ones([2, 3]), tf.ones([4, 3]), tf.ones([4])).numpy().tolist()
        [[4.0, 4.0, 4.0, 4.0], [4.0, 4.0, 4.0, 4.0]]
    """

    if is_multiplied_as_stored(kernel):
        product = kernel.times(rows)
        return product if bias is None else product + bias
    floats = tf.cast(kernel, rows.dtype)

    def few() -> tf.Tensor:
        columns = outputs_first(floats, rows)
        return tf.transpose(columns if bias is None else columns + bias[:, tf.newaxis])

    def many() -> tf.Tensor:
        product = tf.matmul(rows, floats, transpose_b=True)
        return product if bias is None else product + bias

    count = rows.shape[0]
    if count is None:
        return tf.cond(tf.shape(rows)[0] <= FEW_ROWS, few, many)
    return few() if count <= FEW_ROWS else many()


def times_table(rows: tf.Tensor, table: Any, bias: tf.Tensor | None, finish: Finish) -> tf.Tensor:
    """`finish(rows @ table.T, bias)`, in the dtype of `rows`.

    Args:
        rows: float [count, inputs].
        table: a variable or `CompactWeight` [outputs, inputs].
        bias: [outputs] or None; handed on, as a column where the outputs come first.
        finish: adds it, and does what else each logit needs.
    """
    if is_multiplied_as_stored(table):
        return finish(table.times(rows), bias)
    floats, count = tf.cast(table, rows.dtype), tf.shape(rows)[0]

    def columns() -> tf.Tensor:
        return outputs_first(floats, rows)

    def few_columns() -> tf.Tensor:
        if not reads_int8(table):
            return columns()
        return tf.cond(count == 1, lambda: table.times_row(rows), columns)

    def few() -> tf.Tensor:
        return tf.transpose(finish(few_columns(), None if bias is None else bias[:, tf.newaxis]))

    return tf.cond(count <= FEW_TABLE_ROWS, few, lambda: finish(tf.transpose(columns()), bias))


def times_output_kernel(rows: tf.Tensor, kernel: Any) -> tf.Tensor:
    """`rows @ kernel`, for a variable or `CompactWeight` [inputs, outputs], in the dtype of `rows`."""
    if is_multiplied_as_stored(kernel):
        return kernel.times(rows)
    return tf.matmul(rows, tf.cast(kernel, rows.dtype))


def outputs_first(matrix: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """`matrix @ rows.T`: [outputs, count]."""
    return tf.matmul(matrix, rows, transpose_b=True)
