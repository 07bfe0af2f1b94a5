"""Biases for distances, against what transformers' MPNet does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.relative_bias import RelativeBias, distance_buckets


def test_near_distances_have_a_bucket_each_and_far_ones_share_theirs() -> None:
    buckets = distance_buckets(400).numpy()
    assert buckets[200, 193:208].tolist() == [7, 6, 5, 4, 3, 2, 1, 0, 17, 18, 19, 20, 21, 22, 23]
    assert buckets[399, 0] == 15
    assert buckets[0, 399] == 31
    # Between 8 and 128 eight buckets, each twice as far as the one two before it.
    assert [int(buckets[200, 200 - far]) for far in (8, 11, 12, 15, 16, 31, 32, 63, 64, 127, 128)] == [
        *(8, 8, 9, 9, 10, 11, 12, 13, 14, 15, 15)
    ]


@pytest.mark.peers
def test_every_distance_is_in_transformers_bucket() -> None:
    import torch
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    place = torch.arange(600)
    wanted = MPNetEncoder.relative_position_bucket(place[None] - place[:, None], num_buckets=32)
    np.testing.assert_array_equal(distance_buckets(600), wanted.numpy())


def test_each_head_reads_its_column() -> None:
    bias = RelativeBias(2, 40)
    bias.table.assign(tf.reshape(tf.range(80.0), [40, 2]))
    added = bias(tf.zeros([3, 2, 4, 8]), tf.zeros([3, 2, 4, 8]))
    buckets = distance_buckets(4).numpy()
    np.testing.assert_array_equal(added, [[2 * buckets, 2 * buckets + 1]])
