"""Our Keras layers beside KerasHub's and Keras's own: outputs, gradients, training."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mlm
from tf_mlm.keras import MaskedLMHead, MaskedLMMaskGenerator, ReversibleEmbedding

pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(3, 7, 12)).astype(np.float32)
POSITIONS = RNG.integers(0, 7, (3, 4), np.int32)
TARGETS = RNG.integers(0, 19, (3, 4))
TOLERANCES = {"float32": 1e-5, "mixed_bfloat16": 0.05, "mixed_float16": 5e-3, "bfloat16": 0.05}


def pair(tied: bool, activation: str, dtype: str) -> tuple[Any, Any]:
    """Our head and KerasHub's with the same weights."""
    import keras_hub

    table = keras.layers.ReversibleEmbedding(19, 12, dtype=dtype) if tied else None
    theirs = keras_hub.layers.MaskedLMHead(None if tied else 19, table, activation, dtype=dtype)
    theirs(STATES, POSITIONS)
    for weight in theirs.weights:
        weight.assign(RNG.normal(1.0 if "gamma" in weight.path else 0.0, 0.3, weight.shape))
    return MaskedLMHead.from_module(tf_mlm.MaskedLMHead.from_keras(theirs)), theirs


@pytest.mark.parametrize(
    ("tied", "activation", "dtype"),
    list(itertools.product((True, False), ("relu", "gelu"), TOLERANCES)),
    ids=str,
)
def test_the_head_gives_the_same_numbers(tied: bool, activation: str, dtype: str) -> None:
    ours, theirs = pair(tied, activation, dtype)
    wanted = tf.cast(theirs(STATES, POSITIONS), tf.float32)
    tolerance = TOLERANCES[dtype] * max(1.0, float(tf.reduce_max(abs(wanted))))
    np.testing.assert_allclose(tf.cast(ours(STATES, POSITIONS), tf.float32), wanted, atol=tolerance)
    assert len(ours.weights) == len(theirs.weights)


@pytest.mark.parametrize("tied", [True, False])
def test_it_trains_alike(tied: bool) -> None:
    losses = []
    for head in pair(tied, "gelu", "float32"):
        inputs = [keras.Input([7, 12]), keras.Input([4], dtype="int32")]
        model = keras.Model(inputs, head(*inputs))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss)
        losses.append(model.fit([STATES, POSITIONS], TARGETS, epochs=8, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_the_embedding_gives_the_same_numbers(tied: bool, dtype: str) -> None:
    theirs = keras.layers.ReversibleEmbedding(19, 12, tied, logit_soft_cap=2.0, dtype=dtype)
    theirs.build()
    ours = ReversibleEmbedding.from_module(tf_mlm.ReversibleEmbedding.from_keras(theirs))
    for inputs, reverse in ((POSITIONS, False), (STATES, True)):
        a, b = (tf.cast(layer(inputs, reverse=reverse), tf.float32) for layer in (ours, theirs))
        np.testing.assert_allclose(a, b, atol=TOLERANCES[dtype])


def test_a_table_of_keras_is_shared() -> None:
    table = keras.layers.ReversibleEmbedding(19, 12, logit_soft_cap=3.0)
    head = MaskedLMHead(token_embedding=table)
    logits = head(STATES, POSITIONS)
    assert len(head.weights) == 6
    assert any(weight is table.embeddings for weight in head.weights)
    table.embeddings.assign(table.embeddings * 2)
    assert np.any(head(STATES, POSITIONS) != logits)
    copy = MaskedLMHead.from_config(head.get_config())
    assert isinstance(copy.token_embedding, keras.layers.ReversibleEmbedding)


def test_masks_where_nothing_is_random_are_the_same() -> None:
    import keras_hub

    arguments = {"vocabulary_size": 30, "mask_selection_rate": 1.0, "mask_token_id": 4}
    arguments |= {"mask_token_rate": 1.0, "random_token_rate": 0.0, "mask_selection_length": 5}
    ids = tf.constant([[5, 6, 0], [7, 0, 0]])
    ours = MaskedLMMaskGenerator(**arguments)(ids)
    theirs = tf.function(keras_hub.layers.MaskedLMMaskGenerator(**arguments, unselectable_token_ids=[0]))(ids)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)
