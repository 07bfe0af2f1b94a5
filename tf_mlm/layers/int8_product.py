"""Rows of floats times an int8 matrix, in integers: both are rounded, the products are exact.

Each row of the left side is rounded to 255 levels of its own, when it comes (dynamic quantisation): so a
row's result does not depend on what else is in the batch, nor on padding. The sums are oneDNN's, by the
operation `_QuantizedMatMul`: every x86 build of TensorFlow and of TensorFlow Serving for Linux has it,
whatever `TF_ENABLE_ONEDNN_OPTS` says, builds for other processors do not.

References:
    Jacob et al., https://arxiv.org/abs/1712.05877 (integer arithmetic); Yao et al.,
    https://arxiv.org/abs/2206.01861 (a scale for each token).
"""

from __future__ import annotations

import functools

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

LEVELS = 127
OPERATION = "_QuantizedMatMul"


@functools.cache
def is_built_with_int8_product() -> bool:
    """Whether this TensorFlow has the operation."""
    with tf.Graph().as_default():
        try:
            times_int8(tf.ones([1, 1]), tf.ones([1, 1], tf.int8), tf.ones([1]), transposed=True)
        except RuntimeError:  # "Op type not registered"
            return False
    return True


def rounded_rows(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Each row as int8, and the factor [count, 1] that makes floats of it again.

    Example:
        >>> values, scale = rounded_rows(tf.constant([[1.0, -2.0], [0.0, 0.0]]))
        >>> values.numpy().tolist(), (scale * 127).numpy().tolist()
        ([[64, -127], [0, 0]], [[2.0], [127.0]])
    """
    largest = tf.reduce_max(tf.abs(rows), -1, keepdims=True)
    scale = tf.where(largest > 0, largest / LEVELS, 1.0)
    return tf.cast(tf.round(rows / scale), tf.int8), scale


def times_int8(rows: tf.Tensor, values: tf.Tensor, scale: tf.Tensor, *, transposed: bool) -> tf.Tensor:
    """`rows @ matrix`, or `rows @ matrix.T` if `transposed`, with the matrix `values * scale`.

    In a graph the operation keeps the matrix as oneDNN packs it at its first run. So a graph must hold one
    node for each matrix, and a matrix must not change; eagerly, where neither holds, floats stand in for the
    integers.

    Args:
        rows: float32 [count, inputs].
        values: int8 [outputs, inputs] if `transposed`, else [inputs, outputs].
        scale: float32 [outputs].

    Returns:
        float32 [count, outputs].

    Example:
        >>> times_int8(tf.ones([1, 2]), tf.constant([[1, 2]], tf.int8), tf.constant([0.5]), transposed=True)
        <tf.Tensor: shape=(1, 1), dtype=float32, numpy=array([[1.5]], dtype=float32)>
    """
    integers, row_scale = rounded_rows(rows)
    if tf.executing_eagerly():
        floats = tf.cast(integers, tf.float32), tf.cast(values, tf.float32)
        return tf.matmul(*floats, transpose_b=transposed) * scale * row_scale
    return _product(integers, values, scale, transposed) * row_scale


def _product(rows: tf.Tensor, values: tf.Tensor, scale: tf.Tensor, transposed: bool) -> tf.Tensor:
    """The node: `rows @ values * scale`, int8 both, in float32."""
    device = [tf.bitcast(rows, tf.qint8), tf.bitcast(values, tf.qint8), tf.zeros_like(scale)]
    # Ranges, of which the operation makes scales by dividing by 127: 1 for the rows.
    whole, largest = tf.constant(float(LEVELS)), scale * LEVELS
    host = [-whole, whole, -largest, largest]
    attributes = {
        "Tdevice_inputs": _types(device),
        "Thost_inputs": _types(host),
        "Tdevice_outputs": _types([scale]),
        "Thost_outputs": _types([]),
        "T1": _type(tf.qint8),
        "T2": _type(tf.qint8),
        "Tbias": _type(tf.float32),
        "U": _type(tf.float32),
        "Tout": _type(tf.float32),
        "fused_ops": _Value(list=_Value.ListValue(s=[b"BiasAdd", b"Dequantize"])),
        "input_quant_mode": _Value(s=b"SCALED"),
        "transpose_b": _Value(b=transposed),
        "is_weight_const": _Value(b=True),
        "is_bias_const": _Value(b=True),
    }
    graph = tf.compat.v1.get_default_graph()
    (product,) = graph.create_op(
        OPERATION, [*device, *host], [tf.float32], name="int8_product", attrs=attributes
    ).outputs
    return tf.ensure_shape(product, [rows.shape[0], scale.shape[0]])


_Value = attr_value_pb2.AttrValue


def _type(dtype: tf.DType) -> attr_value_pb2.AttrValue:
    return _Value(type=dtype.as_datatype_enum)


def _types(tensors: list[tf.Tensor]) -> attr_value_pb2.AttrValue:
    return _Value(list=_Value.ListValue(type=[tensor.dtype.as_datatype_enum for tensor in tensors]))
