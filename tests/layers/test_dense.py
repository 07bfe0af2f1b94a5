"""Dense: what its initializers see; its product is tested in `test_product`."""

import numpy as np
import tensorflow as tf

from tf_mlm.layers.dense import Dense


def test_initializers_see_inputs_first() -> None:
    shapes = []

    def initializer(shape: list[int], dtype: str) -> tf.Tensor:
        shapes.append(list(shape))
        return tf.reshape(tf.range(15, dtype=dtype), shape)

    dense = Dense(3, 5, kernel_initializer=initializer)
    assert shapes == [[3, 5]]
    np.testing.assert_array_equal(dense(tf.eye(3)), np.arange(15).reshape(3, 5))
