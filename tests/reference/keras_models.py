"""Sizes, inputs and a functional model of an encoder and a tied head, for the tests of the Keras layers."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from tf_mlm.config import ModelConfig
from tf_mlm.keras import Encoder, MaskedLMHead

CONFIG = ModelConfig(
    vocab_size=30,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=32,
    initializer_range=0.3,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
_RNG = np.random.default_rng(0)
LENGTHS = _RNG.integers(5, 13, 16, np.int32)
IDS = np.where(np.arange(12) < LENGTHS[:, None], _RNG.integers(5, 30, (16, 12)), 0).astype(np.int32)
POSITIONS = _RNG.integers(0, 5, (16, 3), np.int32)
POSITIONS[::2, 2] = -1
INPUTS = [IDS, LENGTHS, POSITIONS]
TARGETS = _RNG.integers(5, 30, (16, 3))
WEIGHTS = (POSITIONS >= 0).astype(np.float32)


def functional(dtype: Any = None, **changes: Any) -> keras.Model:
    """[ids, lengths, positions] → logits, with one table for both ends."""
    encoder = Encoder(dataclasses.replace(CONFIG, **changes), seed=0, dtype=dtype)
    initializer = keras.initializers.GlorotUniform(seed=1)
    head = MaskedLMHead(token_embedding=encoder.token_embedding, kernel_initializer=initializer, dtype=dtype)
    inputs = [keras.Input(shape, dtype="int32") for shape in ((12,), (), (3,))]
    return keras.Model(inputs, head(encoder(*inputs[:2]), inputs[2]))


def fit(model: keras.Model, epochs: int = 6, jit: Any = "auto") -> list[float]:
    """The loss of each epoch of training `model` on a few rows."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=jit)
    history = model.fit(
        INPUTS, TARGETS, sample_weight=WEIGHTS, batch_size=8, epochs=epochs, shuffle=False, verbose=0
    )
    return history.history["loss"]
