"""Dense: both orders of its product, and what chooses between them."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.dense import FEW_ROWS, Dense

COUNTS = [0, 1, FEW_ROWS, FEW_ROWS + 1]


@pytest.fixture
def dense() -> Dense:
    layer = Dense(8, 5, "tanh", bias_initializer="random_normal")
    layer.kernel.assign(np.random.default_rng(0).normal(size=layer.kernel.shape))
    return layer


@pytest.mark.parametrize("jit", [None, True], ids=["graph", "xla"])
@pytest.mark.parametrize("known", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("count", COUNTS)
def test_both_orders_of_the_product_are_exact(
    dense: Dense, count: int, known: bool, jit: bool | None
) -> None:
    rows = np.random.default_rng(1).normal(size=(count, 8)).astype(np.float32)

    def loss(rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(rows)
            outputs = dense(rows)
            squares = tf.reduce_sum(outputs**2)
        return outputs, *tape.gradient(squares, [rows, dense.kernel, dense.bias])

    spec = tf.TensorSpec([count if known else None, 8], tf.float32)
    results = tf.function(loss, input_signature=[spec], jit_compile=jit, autograph=False)(tf.constant(rows))
    kernel, bias = dense.kernel.numpy().astype(np.float64), dense.bias.numpy().astype(np.float64)
    outputs = np.tanh(rows @ kernel.T + bias)
    slope = 2 * outputs * (1 - outputs**2)
    for ours, exact in zip(results, (outputs, slope @ kernel, slope.T @ rows, slope.sum(0)), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "left"), [(FEW_ROWS, True), (FEW_ROWS + 1, False)])
def test_the_order_is_chosen_while_tracing_where_the_count_is_known(count: int, left: bool) -> None:
    dense = Dense(8, 5)
    graph = tf.function(dense).get_concrete_function(tf.TensorSpec([count, 8])).graph
    assert not [op for op in graph.get_operations() if op.type in ("If", "StatelessIf")]
    [product] = [op for op in graph.get_operations() if op.type == "MatMul"]
    assert (product.outputs[0].shape == [5, count]) is left


def test_initializers_see_inputs_first() -> None:
    shapes = []

    def initializer(shape: list[int], dtype: str) -> tf.Tensor:
        shapes.append(list(shape))
        return tf.reshape(tf.range(15, dtype=dtype), shape)

    dense = Dense(3, 5, kernel_initializer=initializer)
    assert shapes == [[3, 5]]
    np.testing.assert_array_equal(dense(tf.eye(3)), np.arange(15).reshape(3, 5))
