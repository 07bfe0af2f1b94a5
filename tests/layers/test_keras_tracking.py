"""A plain module in a Keras layer, which Keras does not track, is said to be one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference.keras_models import CONFIG

import tf_mlm

STATES = np.ones([2, 3, 8], np.float32)
IDS = np.ones([2, 3], np.int32)


class Holder(keras.layers.Layer):
    def __init__(self, module: tf.Module, call: Callable[..., Any]) -> None:
        super().__init__(name="holder")
        self.module, self.function = module, call

    def call(self, inputs: Any) -> Any:
        return self.function(self.module, inputs)


POSITIONS = [[0], [1]]
CASES = {
    "MaskedLMHead": (
        lambda: tf_mlm.MaskedLMHead(30, hidden_dim=8),
        lambda head, x: head(x, POSITIONS),
        STATES,
        r"the 6 variables of a tf.Module.*Use tf_mlm.keras.MaskedLMHead,",
    ),
    "ReversibleEmbedding": (
        lambda: tf_mlm.ReversibleEmbedding(30, 8),
        lambda embedding, x: embedding(x),
        IDS,
        r"the 1 variables.*Use tf_mlm.keras.ReversibleEmbedding,",
    ),
    "BertEncoder": (
        lambda: tf_mlm.BertEncoder(CONFIG),
        lambda encoder, x: encoder(x),
        IDS,
        r"the 29 variables.*Use tf_mlm.keras.Encoder,",
    ),
    "MaskedLM": (
        lambda: tf_mlm.MaskedLM.from_config(CONFIG),
        lambda model, x: model(x, mask_positions=POSITIONS),
        IDS,
        r"the 34 variables.*Use tf_mlm.keras.Encoder and tf_mlm.keras.MaskedLMHead,",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_warns_once_and_says_what_to_use(name: str) -> None:
    make, call, inputs, message = CASES[name]
    layer = Holder(make(), call)
    with pytest.warns(
        UserWarning, match=rf"A tf_mlm.{name} is called inside the Keras layer `holder`.*{message}"
    ):
        layer(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(inputs)


def test_what_is_frozen_or_stands_outside_is_no_matter() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Holder(tf_mlm.MaskedLMHead(30, hidden_dim=8, trainable=False), CASES["MaskedLMHead"][1])(STATES)
        tf_mlm.MaskedLMHead(30, hidden_dim=8)(STATES, POSITIONS)
        tf_mlm.keras.MaskedLMHead(30)(STATES, np.array(POSITIONS))
        tf_mlm.keras.Encoder(CONFIG)(IDS)


@pytest.mark.parametrize("name", CASES)
def test_symbolic_tensors_are_refused_with_the_same_advice(name: str) -> None:
    make, call, inputs, message = CASES[name]
    symbolic = keras.Input(inputs.shape[1:], dtype=inputs.dtype.name)
    with pytest.raises(
        ValueError, match=rf"a symbolic tensor of Keras.*{message.split('.*')[1].rstrip(',')}"
    ):
        call(make(), symbolic)
