"""bfloat16 weights: what is stored, what is read, and that products are those of rounded numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.bfloat16_weight import Bfloat16Weight
from tf_mlm.layers.compact_weight import is_multiplied_as_stored, multiplied
from tf_mlm.layers.product import times_kernel, times_output_kernel, times_table

INPUTS, OUTPUTS = 24, 40


def near(numbers: np.ndarray) -> np.ndarray:
    """Each rounded to the nearest bfloat16, ties to even, by its bits: an independent way."""
    bits = numbers.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32).astype(np.float64)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 7, 300])
@pytest.mark.parametrize("in_graph", [True, False])
def test_products_are_those_of_rounded_numbers(axis: int, count: int, in_graph: bool) -> None:
    chance = np.random.default_rng(0)
    shape = [OUTPUTS, INPUTS] if axis == 0 else [INPUTS, OUTPUTS]
    floats = chance.normal(size=shape).astype(np.float32)
    weight = Bfloat16Weight(tf.constant(floats), axis)
    assert [variable.dtype for variable in weight.variables] == [tf.bfloat16]
    np.testing.assert_array_equal(weight.read(), near(floats))
    rows = chance.normal(size=[count, INPUTS]).astype(np.float32)
    times = tf.function(weight.times, [tf.TensorSpec([None, INPUTS])]) if in_graph else weight.times
    found = times(tf.constant(rows))
    assert (found.dtype, found.shape) == (tf.float32, [count, OUTPUTS])
    exact = near(rows) @ (near(floats).T if axis == 0 else near(floats))
    # Sums come back as bfloat16: half of its last bit, and what sums in float32 lose.
    np.testing.assert_allclose(found, exact, rtol=2.0**-8, atol=1e-5)
    np.testing.assert_array_equal(found, near(np.asarray(found)))


@pytest.mark.parametrize("how", ["bfloat16", "float", "xla", "int8"])
def test_it_is_multiplied_so_where_that_is_asked_for(how: str) -> None:
    floats = tf.random.stateless_normal([OUTPUTS, INPUTS], [1, 2])
    kernel, output_kernel = Bfloat16Weight(floats, 0), Bfloat16Weight(tf.transpose(floats), 1)
    rows = tf.random.stateless_normal([3, INPUTS], [3, 4])
    expected = kernel.times(rows) if how == "bfloat16" else tf.matmul(rows, kernel.read(), transpose_b=True)
    with multiplied(how):
        assert is_multiplied_as_stored(kernel) == (how == "bfloat16")
        products = [
            times_kernel(rows, kernel, tf.ones([OUTPUTS])) - 1,
            times_table(rows, kernel, None, lambda logits, bias: logits),
            times_output_kernel(rows, output_kernel),
        ]
    for product in products:
        np.testing.assert_allclose(product, expected, atol=1e-5)
    assert np.abs(kernel.times(rows) - tf.matmul(rows, kernel.read(), transpose_b=True)).max() > 1e-3
