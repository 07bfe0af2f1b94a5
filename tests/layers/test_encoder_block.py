"""What a block reads of its neighbours, by the config's own words."""

from __future__ import annotations

import dataclasses

import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers.encoder_block import EncoderBlock

LENGTH, MIDDLE = 24, 12
CONFIG = ModelConfig(
    hidden_size=8,
    num_attention_heads=2,
    intermediate_size=16,
    num_hidden_layers=2,
    rope_theta=10_000.0,
    local_rope_theta=100.0,
    layer_types=("full_attention", "sliding_attention"),
)


@pytest.mark.parametrize("local_attention", [4, 8])
def test_a_local_layer_reads_half_of_its_window_on_either_side(local_attention: int) -> None:
    config = dataclasses.replace(CONFIG, local_attention=local_attention)
    x = tf.random.stateless_normal([1, LENGTH, 8], [1, 2])
    changed = tf.tensor_scatter_nd_add(x, [[0, MIDDLE]], tf.ones([1, 8]))
    mask = tf.ones([1, LENGTH], tf.bool)

    def readers(index: int) -> list[int]:
        block = EncoderBlock(config, lambda: tf.keras.initializers.RandomNormal(stddev=0.3, seed=3), index)
        differs = tf.reduce_max(tf.abs(block(x, mask) - block(changed, mask)), -1)[0] > 0
        return tf.where(differs)[:, 0].numpy().tolist()

    assert readers(0) == list(range(LENGTH))
    assert readers(1) == list(range(MIDDLE - local_attention // 2, MIDDLE + local_attention // 2 + 1))
