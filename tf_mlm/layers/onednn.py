"""Operations of oneDNN, asked for by name.

Every x86 build of TensorFlow and of TensorFlow Serving for Linux has them, whatever `TF_ENABLE_ONEDNN_OPTS`
says; builds for other processors do not. So only programs that multiply integers hold any.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from tf_mlm.layers.compact_weight import is_multiplied_in_integers

SCORES = "_MklFusedBatchMatMulV2"


def takes_onednn() -> bool:
    """Whether what is traced here multiplies integers."""
    return is_multiplied_in_integers() and not tf.executing_eagerly()


def fused_scores(query: tf.Tensor, key: tf.Tensor, scale: float, added: tf.Tensor) -> tf.Tensor:
    """`query @ key.T * scale + added`.

    Args:
        query, key: float32 [batch, heads, length, size].
        scale: a factor.
        added: float32, broadcast to [batch, heads, length, length].

    Example:
        >>> scores = tf.function(lambda x: fused_scores(x, x, 0.5, tf.zeros([1, 1, 1, 2])))
        >>> scores(tf.ones([1, 1, 2, 3])).numpy().tolist()
        [[[[1.5, 1.5], [1.5, 1.5]]]]
    """
    inputs = [query, key, tf.constant(scale, tf.float32), added]
    return operation(
        SCORES,
        inputs,
        T=tf.float32,
        adj_y=True,
        num_args=2,
        fused_ops=[b"Mul", b"Add"],
    )


def operation(name: str, inputs: list[Any], **attributes: Any) -> tf.Tensor:
    """A node of the graph that is traced, by its operation's name; its result is float32."""
    graph = tf.compat.v1.get_default_graph()
    attrs = {key: _attribute(value) for key, value in attributes.items()}
    tensors = [tf.convert_to_tensor(each) for each in inputs]
    node = graph.create_op(name, tensors, [tf.float32], name=name.lower().strip("_"), attrs=attrs)
    return node.outputs[0]


_Value = attr_value_pb2.AttrValue


def _attribute(value: Any) -> attr_value_pb2.AttrValue:
    if isinstance(value, list):
        types = [each.as_datatype_enum for each in value if isinstance(each, tf.DType)]
        return _Value(list=_Value.ListValue(type=types, s=[] if types else value))
    if isinstance(value, tf.DType):
        return _Value(type=value.as_datatype_enum)
    kind = {bool: "b", int: "i", float: "f", bytes: "s"}[type(value)]
    return _Value(**{kind: value})
