from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_mlm.text.packing import Blocks, pack_documents

CLS, SEP, PAD = 2, 3, 0


def pack(documents: list[list[int]], length: int, across: bool) -> Blocks:
    ragged = tf.ragged.constant(documents, dtype=tf.int32, ragged_rank=1)
    return pack_documents(ragged, length, cls_id=CLS, sep_id=SEP, pad_id=PAD, across_documents=across)


documents_strategy = st.lists(st.lists(st.integers(10, 99), max_size=12), max_size=8)


@settings(max_examples=200, deadline=None)
@given(documents_strategy, st.integers(3, 9), st.booleans())
def test_every_token_is_used_once_and_in_order(documents: list[list[int]], length: int, across: bool) -> None:
    blocks = pack(documents, length, across)
    token_ids, lengths = blocks.token_ids.numpy(), blocks.lengths.numpy()
    assert token_ids.shape == (len(lengths), length)
    used = []
    for row, size in zip(token_ids, lengths, strict=True):
        assert row[0] == CLS
        assert row[size - 1] == SEP
        assert np.all(row[size:] == PAD)
        assert size >= 3
        assert row[1] != SEP
        assert row[size - 2] != SEP
        used += [token for token in row[1 : size - 1].tolist() if token != SEP]
    assert used == [token for document in documents for token in document]


@settings(max_examples=100, deadline=None)
@given(documents_strategy, st.integers(3, 9))
def test_shared_blocks_are_full_and_tell_documents_apart(documents: list[list[int]], length: int) -> None:
    blocks = pack(documents, length, across=True)
    # All but the last block are full, or one or two short where a separator fell on their edge.
    assert np.all(blocks.lengths.numpy()[:-1] >= max(3, length - 2))
    tokens = [token for document in documents for token in document]
    stream = len(tokens) + max(0, sum(bool(document) for document in documents) - 1)
    assert len(blocks.lengths) <= -(-stream // (length - 2))


@settings(max_examples=100, deadline=None)
@given(documents_strategy, st.integers(3, 9))
def test_own_blocks_hold_one_document(documents: list[list[int]], length: int) -> None:
    blocks = pack(documents, length, across=False)
    assert len(blocks.lengths) == sum(-(-len(document) // (length - 2)) for document in documents)
    assert np.all((blocks.token_ids.numpy() == SEP).sum(1) == 1)


def test_in_a_graph_with_unknown_sizes() -> None:
    spec = tf.RaggedTensorSpec([None, None], tf.int64)
    packed = tf.function(lambda d: pack_documents(d, 6, cls_id=CLS, sep_id=SEP), input_signature=[spec])
    blocks = packed(tf.ragged.constant([[10] * 9, [], [11]], dtype=tf.int64))
    assert blocks.token_ids.numpy().tolist() == [
        [2, 10, 10, 10, 10, 3],
        [2, 10, 10, 10, 10, 3],
        [2, 10, 3, 11, 3, 0],
    ]
    assert blocks.token_ids.dtype == blocks.lengths.dtype == tf.int32


def test_room_for_a_token_is_required() -> None:
    with pytest.raises(ValueError, match=r"at least 3.*length=2"):
        pack([[1]], 2, across=True)
