"""Attention to relative positions, against loops in NumPy and transformers' buckets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers.convolution import Convolution
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.disentangled_bias import DisentangledBias, RelativeVectors, log_buckets
from tf_mlm.layers.initializer import truncated_normal
from tf_mlm.layers.self_attention import SelfAttention

SIZES: dict[str, Any] = {"hidden_size": 8, "num_attention_heads": 2, "max_position_embeddings": 12}


def test_near_distances_have_a_bucket_each_and_far_ones_share_theirs() -> None:
    assert log_buckets(6, None, 4).tolist() == [0, 1, 2, 3, 4, 5]
    found = log_buckets(512, 256, 512)
    assert found[:130].tolist() == [*range(129), 129]
    assert (np.diff(found) >= 0).all()
    assert found[-1] == 255


@pytest.mark.peers
@pytest.mark.parametrize(("buckets", "farthest"), [(256, 512), (8, 40), (32, 128)])
def test_every_distance_is_in_transformers_bucket(buckets: int, farthest: int) -> None:
    import torch
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    wanted = make_log_bucket_position(torch.arange(farthest), buckets, farthest).to(torch.long)
    np.testing.assert_array_equal(log_buckets(farthest, buckets, farthest), wanted.numpy())


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("parts", [(), ("c2p",), ("p2c",), ("p2c", "c2p")], ids=str)
@pytest.mark.parametrize("buckets", [None, 4])
def test_each_pair_of_positions_reads_the_vector_of_its_distance(
    shared: bool, parts: tuple[str, ...], buckets: int | None
) -> None:
    config = ModelConfig(
        relative_parts=parts, relative_shared=shared, relative_norm=True, position_buckets=buckets, **SIZES
    )
    vectors = RelativeVectors(config, truncated_normal(0.5, 1))
    bias = DisentangledBias(config, vectors, lambda: truncated_normal(0.5, 2))
    joint = Dense(8, 24, kernel_initializer=truncated_normal(0.5, 3))
    query, key = tf.random.stateless_normal([2, 3, 2, 5, 4], seed=[0, 1])
    found = bias(query, key, joint).numpy()
    assert bias.parts == 1 + len(parts)

    table, span = vectors().numpy(), buckets or 12
    by_distance = log_buckets(12, buckets, 12)
    projected = np.split(joint(table).numpy(), 3, axis=-1)
    wanted = np.zeros([3, 2, 5, 5])
    for head, i, j in np.ndindex(2, 5, 5):
        row = int(np.clip(np.sign(i - j) * by_distance[abs(i - j)] + span, 0, 2 * span - 1))
        part = slice(4 * head, 4 * head + 4)
        scale = np.sqrt(4 * bias.parts)
        if "c2p" in parts:
            vector = projected[1][row, part] if shared else bias.key(table).numpy()[row, part]
            wanted[:, head, i, j] += query.numpy()[:, head, i] @ vector / scale
        if "p2c" in parts:
            vector = projected[0][row, part] if shared else bias.query(table).numpy()[row, part]
            wanted[:, head, i, j] += key.numpy()[:, head, j] @ vector / scale
    np.testing.assert_allclose(found + np.zeros_like(wanted), wanted, atol=1e-5)


def test_a_convolution_sees_zeros_beyond_the_ends_of_a_text() -> None:
    config = ModelConfig(conv_kernel_size=3, conv_act="linear", **SIZES)
    convolution = Convolution(config, truncated_normal(0.5, 1))
    convolution.bias.assign(tf.range(8.0))
    given, made = tf.random.stateless_normal([2, 2, 5, 8], seed=[0, 1])
    mask = tf.sequence_mask([3, 5], 5)
    kernel, real = convolution.kernel.numpy(), np.where(mask[..., None], given, 0)
    sums = np.zeros([2, 5, 8]) + np.arange(8.0)
    for place, shift in ((0, -1), (1, 0), (2, 1)):
        for position in range(5):
            if 0 <= position + shift < 5:
                sums[:, position] += real[:, position + shift] @ kernel[:, :, place].T
    x = made.numpy() + np.where(mask[..., None], sums, 0)
    centred = x - x.mean(-1, keepdims=True)
    wanted = centred / np.sqrt(x.var(-1, keepdims=True) + config.layer_norm_eps)
    np.testing.assert_allclose(convolution(given, made, mask), wanted, atol=1e-5)


def test_attention_scales_contents_and_positions_alike() -> None:
    config = ModelConfig(relative_parts=("c2p", "p2c"), relative_shared=True, position_buckets=4, **SIZES)
    bias = DisentangledBias(
        config, RelativeVectors(config, truncated_normal(0.5, 1)), lambda: truncated_normal(0.5, 2)
    )
    attention = SelfAttention(8, 2, kernel_initializer=truncated_normal(0.5, 3), bias=bias)
    x = tf.random.stateless_normal([3, 5, 8], seed=[0, 1])
    found = attention(x, tf.ones([3, 5], tf.bool))
    split = tf.reshape(attention.query_key_value(x), [3, 5, 3, 2, 4])
    query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))
    scores = tf.matmul(query, key, transpose_b=True) / (4 * 3) ** 0.5
    scores += bias(query, key, attention.query_key_value)
    wanted = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
    np.testing.assert_allclose(found, tf.reshape(wanted, [3, 5, 8]), atol=1e-6)
