"""An encoder of a user's own: what is asked of it, and what is asked only of one that can be split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import SPECIAL, WORDS

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.model.bert_encoder import BertEncoder
from tf_mlm.model.encoder import SplitEncoder
from tf_mlm.model.masked_lm import MaskedLM

CONFIG = ModelConfig(vocab_size=len(SPECIAL + WORDS), hidden_size=8, num_attention_heads=2)
IDS, LENGTHS, POSITIONS = np.array([[2, 5, 4, 3], [2, 4, 3, 0]]), [4, 3], [[2], [1]]


class Whole(tf.Module):
    """The encoder that can do nothing but what is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.config = CONFIG
        self.seeds: list[Any] = []
        self.table = tf.Variable(tf.random.stateless_normal([CONFIG.vocab_size, 8], seed=[0, 1]))

    def __call__(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, segment_ids: Any, *, dropout_seed: Any = None
    ) -> tf.Tensor:
        self.seeds.append(dropout_seed)
        real = tf.sequence_mask(lengths, tf.shape(token_ids)[1], tf.float32)[..., tf.newaxis]
        x = tf.gather(self.table, token_ids) * real
        return x + tf.reduce_mean(x, 1, keepdims=True)


class InTwo(Whole):
    """The same one, split in two."""

    def attend(self, token_ids: Any, lengths: Any = None, segment_ids: Any = None, **more: Any) -> tuple:
        return super().__call__(token_ids, lengths, segment_ids, **more) / 2, tf.ones([2, 4, 8])

    def transform(self, states: tf.Tensor, ones: tf.Tensor, *, dropout_seed: Any = None) -> tf.Tensor:
        return states * 2 * ones


def test_what_the_bert_encoder_is() -> None:
    assert isinstance(BertEncoder(CONFIG), SplitEncoder)
    assert not isinstance(Whole(), SplitEncoder)


def test_a_split_changes_no_number() -> None:
    head = MaskedLMHead(CONFIG.vocab_size, hidden_dim=8)
    whole, split = (MaskedLM(encoder, head)(IDS, LENGTHS, None, POSITIONS) for encoder in (Whole(), InTwo()))
    np.testing.assert_allclose(whole, split, rtol=1e-6)


def test_the_dropout_seed_comes_only_where_there_is_one() -> None:
    encoder = Whole()
    model = MaskedLM(encoder, MaskedLMHead(CONFIG.vocab_size, hidden_dim=8))
    model(IDS, LENGTHS, None, POSITIONS)
    model(IDS, LENGTHS, None, POSITIONS, dropout_seed=[1, 2])
    assert encoder.seeds == [None, [1, 2]]


def test_a_config_is_asked_for_where_it_is_needed() -> None:
    model = MaskedLM(lambda *inputs: Whole()(*inputs), MaskedLMHead(CONFIG.vocab_size, hidden_dim=8))
    assert model(IDS, LENGTHS, None, POSITIONS).shape == (2, 1, CONFIG.vocab_size)
    with pytest.raises(ConfigError, match=r"must have a `config`.*Received: encoder=function without one"):
        _ = model.config
