"""The encoder: lengths instead of masks, positions, dropout, and shapes that are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.model.bert_encoder import BertEncoder

CONFIG = ModelConfig(
    vocab_size=30,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
    max_position_embeddings=12,
    initializer_range=0.5,
)
FAMILIES = {
    "albert": dataclasses.replace(
        CONFIG,
        model_type="albert",
        embedding_size=8,
        num_hidden_layers=3,
        num_hidden_groups=2,
        embedding_projection=True,
    ),
    "bert": CONFIG,
    "distilbert": dataclasses.replace(CONFIG, model_type="distilbert", type_vocab_size=0),
    "electra": dataclasses.replace(CONFIG, model_type="electra", embedding_size=8),
    "roberta": dataclasses.replace(CONFIG, model_type="roberta", pad_token_id=1),
}
EVERY_FAMILY = pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)

RNG = np.random.default_rng(0)
IDS = RNG.integers(5, 30, (4, 9), np.int32)
SEGMENTS = RNG.integers(0, 2, (4, 9), np.int32)
LENGTHS = np.array([9, 4, 1, 0], np.int32)
REAL = np.arange(9) < LENGTHS[:, None]


@pytest.mark.parametrize(
    ("name", "dtype", "jit_compile"),
    [
        *[(name, "float32", False) for name in FAMILIES],
        *[(name, "mixed_bfloat16", True) for name in ("albert", "roberta")],
        *[
            pytest.param(name, "mixed_bfloat16", True, marks=pytest.mark.slow)
            for name in ("bert", "distilbert", "electra")  # `tests/layers` compiles these embeddings
        ],
    ],
)
def test_what_stands_behind_the_length_never_matters(name: str, dtype: str, jit_compile: bool) -> None:
    call = tf.function(BertEncoder(FAMILIES[name], dtype=dtype, seed=0), jit_compile=jit_compile)
    states = tf.cast(call(IDS, LENGTHS, SEGMENTS), tf.float32).numpy()
    other_ids = np.where(REAL, IDS, RNG.integers(0, 30, IDS.shape)).astype(np.int32)
    other_segments = np.where(REAL, SEGMENTS, 1 - SEGMENTS).astype(np.int32)
    other = tf.cast(call(other_ids, LENGTHS, other_segments), tf.float32).numpy()
    np.testing.assert_array_equal(states[REAL], other[REAL])
    assert np.all(np.isfinite(states))  # also in the row of length 0


@EVERY_FAMILY
def test_a_text_means_the_same_alone_and_in_a_padded_batch(config: ModelConfig) -> None:
    encoder = BertEncoder(config, seed=0)
    states = encoder(IDS, LENGTHS, SEGMENTS).numpy()
    for row, length in enumerate(LENGTHS[:3]):
        alone = encoder(IDS[row : row + 1, :length], [length], SEGMENTS[row : row + 1, :length])
        np.testing.assert_allclose(alone[0], states[row, :length], atol=1e-5)


@pytest.mark.parametrize("in_a_graph", [False, True])
@EVERY_FAMILY
def test_a_call_leaves_reading_the_tables_without_copies(config: ModelConfig, in_a_graph: bool) -> None:
    """What `tf.gather` has once read of a variable itself makes TensorFlow copy it at every later read."""
    encoder = BertEncoder(config, seed=0)
    call = tf.function(encoder) if in_a_graph else encoder
    places = np.tile(np.arange(9, dtype=np.int32), [4, 1])
    call(IDS, LENGTHS, SEGMENTS, position_ids=places)
    for variable in encoder.variables:
        first, second = (np.asarray(tf.convert_to_tensor(variable)) for _ in range(2))
        assert first.ctypes.data == second.ctypes.data, variable.name


def test_what_stands_before_the_length_does_matter() -> None:
    encoder = BertEncoder(CONFIG, seed=0)
    shorter = encoder(IDS, LENGTHS - (LENGTHS > 3), SEGMENTS).numpy()
    assert not np.allclose(shorter[0, :8], encoder(IDS, LENGTHS, SEGMENTS)[0, :8], atol=1e-3)


def test_positions_are_rows_of_the_whole_result() -> None:
    encoder = BertEncoder(CONFIG, seed=0)
    positions = np.array([[0, 8, 3, 3]] * 4)
    whole = encoder(IDS, LENGTHS, SEGMENTS).numpy()
    some = encoder(IDS, LENGTHS, SEGMENTS, positions=positions)
    np.testing.assert_allclose(some, np.take_along_axis(whole, positions[..., None], 1), atol=1e-5)


def test_no_segments_are_segments_of_zeros() -> None:
    encoder = BertEncoder(CONFIG, seed=0)
    np.testing.assert_allclose(encoder(IDS, LENGTHS), encoder(IDS, LENGTHS, np.zeros_like(IDS)), atol=1e-6)


def test_roberta_counts_positions_from_behind_its_padding_id() -> None:
    bert = BertEncoder(CONFIG, seed=0)
    roberta = BertEncoder(FAMILIES["roberta"], seed=0)
    assert FAMILIES["roberta"].max_length == 10
    table = bert.embedding.position.embeddings
    roberta.embedding.position.embeddings[2:].assign(table[:10])
    np.testing.assert_allclose(roberta(IDS, LENGTHS, SEGMENTS), bert(IDS, LENGTHS, SEGMENTS), atol=1e-6)


def test_layers_of_a_group_are_one_block_that_runs_for_each() -> None:
    shared = BertEncoder(FAMILIES["albert"], seed=0)
    assert [layer.name for layer in shared.layers] == ["block_0", "block_0", "block_1"]
    apart = BertEncoder(dataclasses.replace(FAMILIES["albert"], num_hidden_groups=None), seed=1)
    assert len(apart.variables) - len(shared.variables) == len(shared.blocks[0].variables)
    for ours, theirs in zip(shared.embedding.variables, apart.embedding.variables, strict=True):
        theirs.assign(ours)
    for layer, block in zip(shared.layers, apart.blocks, strict=True):
        for ours, theirs in zip(layer.variables, block.variables, strict=True):
            theirs.assign(ours)
    np.testing.assert_allclose(shared(IDS, LENGTHS, SEGMENTS), apart(IDS, LENGTHS, SEGMENTS), atol=1e-6)


def test_the_seed_makes_the_weights() -> None:
    once, again, other = (BertEncoder(CONFIG, seed=seed).variables for seed in (3, 3, 4))
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [variable.numpy() for variable in once if len(variable.shape) == 2]
    assert any(not np.array_equal(a, b) for a, b in zip(once, other, strict=True))
    same_shape = [kernel for kernel in kernels if kernel.shape == (16, 16)]
    assert not np.array_equal(*same_shape[:2])  # each kernel is drawn for itself
    assert np.std(kernels[0]) == pytest.approx(0.5, rel=0.2)


def test_dropout_follows_its_seed_and_is_off_without() -> None:
    encoder = BertEncoder(CONFIG, seed=0)
    calm = encoder(IDS, LENGTHS, SEGMENTS)
    np.testing.assert_array_equal(calm, encoder(IDS, LENGTHS, SEGMENTS))
    noisy = encoder(IDS, LENGTHS, SEGMENTS, dropout_seed=[1, 2]).numpy()
    np.testing.assert_array_equal(noisy, encoder(IDS, LENGTHS, SEGMENTS, dropout_seed=[1, 2]))
    assert not np.allclose(noisy[REAL], calm.numpy()[REAL], atol=1e-2)
    assert not np.allclose(noisy, encoder(IDS, LENGTHS, SEGMENTS, dropout_seed=[1, 3]), atol=1e-2)
    still = BertEncoder(
        dataclasses.replace(CONFIG, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), seed=0
    )
    np.testing.assert_allclose(still(IDS, LENGTHS, SEGMENTS, dropout_seed=[1, 2]), calm, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((IDS[0], LENGTHS), r"`token_ids` must be integers of shape \[batch, length\].*shape=\(9,\)"),
        ((IDS, [[9]] * 4), r"`lengths` must be integers of shape \[batch\].*shape=\(4, 1\)"),
        ((IDS, LENGTHS[:2]), r"same batch size.*lengths.shape=\(2,\)"),
        ((IDS, LENGTHS, SEGMENTS[:, :3]), r"`segment_ids` must have the shape of `token_ids`"),
        ((np.zeros([1, 13], np.int32), [1]), r"positions for 12 tokens. Received: length=13. Truncate"),
    ],
    ids=range(5),
)
def test_shapes_that_do_not_fit_are_refused(inputs: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BertEncoder(CONFIG, seed=0)(*inputs)


def test_ids_outside_the_vocabulary_are_an_error() -> None:
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"`token_ids` must lie in \[0, 30\). Received: 30\."
    ):
        BertEncoder(CONFIG, seed=0)([[30]], [1])
