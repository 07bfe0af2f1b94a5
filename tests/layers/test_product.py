"""Both orders of a product: the same numbers and gradients, and what chooses between them."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers import product
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding

COUNTS = [0, 1, product.FEW_ROWS, product.FEW_ROWS + 1]


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


@pytest.mark.parametrize(("count", "left"), [(product.FEW_ROWS, True), (product.FEW_ROWS + 1, False)])
def test_the_order_is_chosen_while_tracing_where_the_count_is_known(count: int, left: bool) -> None:
    dense = Dense(8, 5)
    graph = tf.function(dense).get_concrete_function(tf.TensorSpec([count, 8])).graph
    assert not [op for op in graph.get_operations() if op.type in ("If", "StatelessIf")]
    [product] = [op for op in graph.get_operations() if op.type == "MatMul"]
    assert (product.outputs[0].shape == [5, count]) is left


@pytest.mark.parametrize("jit", [None, True])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [1, product.FEW_TABLE_ROWS, product.FEW_TABLE_ROWS + 1])
def test_few_rows_and_many_are_projected_alike(rows: int, tied: bool, jit: bool | None) -> None:
    embedding = ReversibleEmbedding(11, 3, tied, logit_soft_cap=2.0)
    x, bias = tf.random.stateless_normal([rows, 3], [0, 1]), tf.range(11.0)
    project = tf.function(embedding.project, jit_compile=jit, autograph=False)
    capped = 2 * np.tanh(x.numpy() @ embedding.output_table.numpy().T / 2)
    np.testing.assert_allclose(project(x), capped, atol=1e-6)
    np.testing.assert_allclose(project(x, bias=bias), capped + bias, atol=1e-6)
