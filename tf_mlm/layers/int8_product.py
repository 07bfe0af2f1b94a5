"""Rows of floats times an int8 matrix, in integers: both are rounded, the sums of products are exact.

Each row of the left side is rounded to levels of its own, when it comes (dynamic quantisation): so a row's
result does not depend on what else is in the batch, nor on padding. The sums are oneDNN's, by the operation
`_QuantizedMatMul`: every x86 build of TensorFlow and of TensorFlow Serving for Linux has it, whatever
`TF_ENABLE_ONEDNN_OPTS` says; builds for other processors do not.

A processor without VNNI adds pairs of products in 16 bits, and what does not fit is cut off in silence:
127 · 254 · 2 does not. So the graph looks, with two small products, what the processor does, and rounds rows
to 255 levels where sums are exact and to 129 elsewhere, with which they are exact too.

References:
    Jacob et al., https://arxiv.org/abs/1712.05877 (integer arithmetic); Yao et al.,
    https://arxiv.org/abs/2206.01861 (a scale for each token).
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from tf_mlm.layers.onednn import fused_scores, operation

LEVELS = 127
"""The largest int8 that is used, of either sign."""
LEVELS_OF_PAIRS = 64
"""The largest of a row where pairs are added in 16 bits: 2 · 64 · 127 · 2 is less than 2¹⁵."""
OPERATION = "_QuantizedMatMul"
_LEAST = 1e-30


@functools.cache
def is_built_with_int8_product() -> bool:
    """Whether this TensorFlow has the operations that programs of such products hold."""
    with tf.Graph().as_default():
        try:
            row_levels()
            none = tf.zeros([1, 1, 1, 1])
            fused_scores(none, none, 1.0, none)
        except RuntimeError:  # "Op type not registered"
            return False
    return True


def rounded_rows(rows: tf.Tensor, levels: tf.Tensor | float) -> tuple[tf.Tensor, tf.Tensor]:
    """Each row as uint8 [0, 2 · levels], 0.0 being `levels`, and the factor [count, 1] of a level.

    Example:
        >>> values, scale = rounded_rows(tf.constant([[1.0, -2.0], [0.0, 0.0]]), 127.0)
        >>> values.numpy().tolist(), (scale * 127).numpy().tolist()
        ([[191, 0], [127, 127]], [[2.0], [1.0000000031710769e-30]])
    """
    largest = tf.maximum(tf.reduce_max(tf.abs(rows), -1, keepdims=True), _LEAST)
    # A cast cuts off what is behind the point, and so rounds what a half was added to.
    return tf.cast(rows * (levels / largest) + (levels + 0.5), tf.uint8), largest / levels


def times_int8(
    rows: tf.Tensor,
    values: tf.Tensor,
    scale: tf.Tensor,
    sums: tf.Tensor,
    *,
    transposed: bool,
    twice: bool = False,
) -> tf.Tensor:
    """`rows @ matrix`, or `rows @ matrix.T` if `transposed`, with the matrix `values * scale`.

    In a graph the operation keeps the matrix as oneDNN packs it at its first run. So a graph must hold one
    node for each matrix, and a matrix must not change; eagerly, where neither holds, floats stand in for the
    integers.

    Args:
        rows: float32 [count, inputs].
        values: int8 [outputs, inputs] if `transposed`, else [inputs, outputs].
        scale: float32 [outputs].
        sums: float32 [outputs], of the matrix over the inputs.
        twice: what a row is rounded by is rounded too, and multiplied as a second row: hardly anything of the
            row is lost, for twice the rows.

    Returns:
        float32 [count, outputs].

    Example:
        >>> values, scale, sums = tf.constant([[1, 2]], tf.int8), tf.constant([0.5]), tf.constant([1.5])
        >>> times_int8(tf.ones([1, 2]), values, scale, sums, transposed=True).numpy().tolist()
        [[1.5]]
    """
    levels = LEVELS if tf.executing_eagerly() else row_levels()
    shifted, row_scale = rounded_rows(rows, levels)
    if twice:
        rest = rows - (tf.cast(shifted, tf.float32) - levels) * row_scale
        parts = zip((shifted, row_scale), rounded_rows(rest, levels), strict=True)
        shifted, row_scale = (tf.concat(pair, 0) for pair in parts)
    if tf.executing_eagerly():
        integers = tf.cast(shifted, tf.float32) - LEVELS
        product = tf.matmul(integers, tf.cast(values, tf.float32), transpose_b=transposed) * scale
    else:
        product = _product(shifted, values, scale, -levels * sums, transposed)
    product *= row_scale
    return sum(tf.split(product, 2)) if twice else product


def row_levels() -> tf.Tensor:
    """How far rows may be rounded, `LEVELS` or `LEVELS_OF_PAIRS`, as the processor tells when the graph runs.

    Where it has the choice, oneDNN takes other instructions for one row than for many.
    """
    graph = tf.compat.v1.get_default_graph()
    # Asked once in a graph, which holds the answer itself: whoever else did would keep the graph alive.
    known = getattr(graph, "_tf_mlm_row_levels", None)
    if known is not None:
        return known
    inputs, outputs = 256, 64
    largest = tf.constant(np.full([outputs, inputs], LEVELS, np.int8))
    one, none = tf.ones([outputs]), tf.zeros([outputs])
    are_exact = []
    for count in (1, 32):
        rows = tf.fill([count, inputs], tf.constant(2 * LEVELS, tf.uint8))
        found = _product(rows, largest, one, none, transposed=True)
        are_exact.append(tf.reduce_all(found == 2.0 * LEVELS * LEVELS * inputs))
    levels = tf.where(tf.reduce_all(are_exact), float(LEVELS), float(LEVELS_OF_PAIRS))
    graph._tf_mlm_row_levels = levels
    return levels


def _product(
    rows: tf.Tensor, values: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, transposed: bool
) -> tf.Tensor:
    """The node: `rows @ values * scale + bias`, from uint8 and int8, in float32."""
    device = [tf.bitcast(rows, tf.quint8), tf.bitcast(values, tf.qint8), bias]
    # Ranges, of which the operation makes scales: divided by 255 for uint8, by 127 for int8. It takes the
    # larger of both ends. What oneDNN prepares for a shape it finds again by the address of the int8 range:
    # so that is the variable itself, and the other range makes up for the division.
    host = [tf.constant(0.0), tf.constant(255.0 * LEVELS), scale, scale]
    product = operation(
        OPERATION,
        [*device, *host],
        Tdevice_inputs=[tensor.dtype for tensor in device],
        Thost_inputs=[tensor.dtype for tensor in host],
        Tdevice_outputs=[tf.float32],
        Thost_outputs=[],
        T1=tf.quint8,
        T2=tf.qint8,
        Tbias=tf.float32,
        U=tf.float32,
        Tout=tf.float32,
        fused_ops=[b"BiasAdd", b"Dequantize"],
        input_quant_mode=b"SCALED",
        transpose_b=transposed,
        is_weight_const=True,
        is_bias_const=False,
    )
    return tf.ensure_shape(product, [rows.shape[0], scale.shape[0]])
