"""Rows for which a condition holds, beside NumPy's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.text.selection import rows_where, selected


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rows_are_those_that_numpy_selects(size: int, share: float) -> None:
    draw = np.random.default_rng(size)
    condition = draw.random(size) < share
    words = np.array([f"word {place}".encode() for place in range(size)], object)
    pairs = draw.integers(0, 9, (size, 2))
    rows = rows_where(tf.constant(condition))
    assert rows.dtype == tf.int32
    assert rows.numpy().tolist() == np.flatnonzero(condition).tolist()
    ours = selected(tf.constant(condition), tf.constant(words, tf.string), tf.constant(pairs))
    for got, all_of_them in zip(ours, (words, pairs), strict=True):
        np.testing.assert_array_equal(got, all_of_them[condition])


def test_a_graph_of_it_is_small() -> None:
    function = tf.function(lambda condition, values: selected(condition, values))
    specs = tf.TensorSpec([None], tf.bool), tf.TensorSpec([None], tf.int32)
    names = [
        operation.type
        for operation in function.get_concrete_function(*specs).graph.get_operations()
        if operation.type not in ("Placeholder", "Const", "Identity")
    ]
    assert names == ["Where", "Reshape", "Cast", "GatherV2"]
