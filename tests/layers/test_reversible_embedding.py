"""The token table's rules; its numbers are compared in `test_conformance` and `parity`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.bfloat16_weight import Bfloat16Weight
from tf_mlm.layers.int8_weight import Int8Weight
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding


def test_ids_of_any_shape_and_integer_type() -> None:
    embedding = ReversibleEmbedding(7, 3)
    for dtype in (tf.int32, tf.int64, tf.uint8):
        assert embedding(tf.constant([[1, 2], [3, 6]], dtype)).shape == (2, 2, 3)
    assert embedding(tf.constant(4)).shape == (3,)
    np.testing.assert_array_equal(embedding([1.0, 2.0]), embedding([1, 2]))


def test_ids_out_of_range_are_an_error() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"= 7 is not in \[0, 7\)"):
        ReversibleEmbedding(7, 3)(tf.constant([7]))


def test_shapes_of_both_directions() -> None:
    embedding = ReversibleEmbedding(7, 3)
    assert embedding.compute_output_shape([None, 4]) == [None, 4, 3]
    assert embedding.compute_output_shape([None, 4, 3], reverse=True) == [None, 4, 7]
    assert embedding(tf.ones([2, 0, 3]), reverse=True).shape == (2, 0, 7)


def test_hidden_states_of_another_size_are_refused() -> None:
    embedding = ReversibleEmbedding(7, 3)
    with pytest.raises(ValueError, match=r"must be 3, the `output_dim`. Received: shape=\(2, 6\)"):
        embedding(tf.ones([2, 6]), reverse=True)
    unknown = tf.function(embedding.project, input_signature=[tf.TensorSpec(None)])
    assert unknown(tf.ones([2, 3])).shape == (2, 7)


def test_reverse_dtype_and_soft_cap() -> None:
    embedding = ReversibleEmbedding(7, 3, reverse_dtype="float32", logit_soft_cap=2.0, dtype="bfloat16")
    logits = embedding(tf.fill([1, 3], 1e4), reverse=True)
    assert logits.dtype == tf.float32
    assert np.all(np.abs(logits) <= 2)
    assert np.abs(logits).max() == pytest.approx(2)


def test_output_table_is_the_one_that_projects() -> None:
    for tied in (True, False):
        embedding = ReversibleEmbedding(7, 3, tied)
        x = tf.random.stateless_normal([4, 3], [0, 0])
        np.testing.assert_allclose(
            embedding(x, reverse=True), tf.matmul(x, embedding.output_table, transpose_b=True), atol=1e-6
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_dim": 0, "output_dim": 3}, r"must be at least 1. Received: input_dim=0, output_dim=3"),
        ({"input_dim": 3, "output_dim": -1}, r"must be at least 1. Received: input_dim=3, output_dim=-1"),
        ({"input_dim": 3, "output_dim": 3, "logit_soft_cap": 0}, r"must be positive, or None.*Received: 0"),
        ({"input_dim": 3, "output_dim": 3, "dtype": "int8"}, r"`dtype` must be a float dtype"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReversibleEmbedding(**arguments)


def test_features_of_keras_that_would_be_lost_are_refused() -> None:
    config = ReversibleEmbedding(7, 3).get_config()
    same = ReversibleEmbedding.from_config({**config, "mask_zero": False, "activity_regularizer": None})
    assert same.get_config() == config
    for lost in ({"mask_zero": True}, {"embeddings_regularizer": "l2"}, {"lora_rank": 4}):
        with pytest.raises(ValueError, match=r"is a feature of Keras that this layer does not have"):
            ReversibleEmbedding.from_config({**config, **lost})


@pytest.mark.parametrize("store", [None, Int8Weight, Bfloat16Weight])
def test_a_lookup_leaves_reading_the_table_without_copies(store: Any) -> None:
    embedding = ReversibleEmbedding(5, 3)
    if store is not None:
        embedding.embeddings = store(embedding.embeddings, 0)
    embedding(tf.constant([1, 2]))
    tf.function(embedding)(tf.constant([1, 2]))
    first, second = (np.asarray(tf.convert_to_tensor(embedding.embeddings)) for _ in range(2))
    assert first.ctypes.data == second.ctypes.data
