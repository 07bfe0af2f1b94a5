"""Attention in blocks against plain attention and its NumPy twin: outputs, gradients, dropped weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from reference import numpy_bert

from tf_mlm.layers import block_attention as blocks
from tf_mlm.layers.attention_blocks import Dropout
from tf_mlm.layers.attention_mask import AttentionMask
from tf_mlm.layers.block_attention import block_attention, takes_blocks
from tf_mlm.layers.dropout import dropout
from tf_mlm.layers.rotary import Rotary
from tf_mlm.layers.self_attention import SelfAttention

HEADS, SIZE = 2, 4
SMALL = 32
"""The block of these tests: lengths from 1 to 300 cross its edges nine times."""
WINDOWS = [None, 9, 600]
SEED = tf.constant([3, 5])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LEAST_BAND", SMALL)
    monkeypatch.setattr(blocks, "BLOCK", SMALL)


def _documents(draw: np.random.Generator, batch: int, length: int) -> np.ndarray:
    """Numbers of documents of about 40 tokens, ascending, that begin anywhere."""
    return np.cumsum(draw.random((batch, length)) < 1 / 40, axis=1).astype(np.int32)


def _arrays(length: int, batch: int = 1) -> list[np.ndarray]:
    """Queries, keys, values and the gradient that comes from above."""
    draw = np.random.default_rng(length)
    return [draw.normal(size=(batch, HEADS, length, SIZE)) for _ in range(4)]


def _attention_mask(
    length: int, batch: int, window: int | None, packed: bool
) -> tuple[AttentionMask, np.ndarray]:
    """Who attends to whom, and the same as bool [batch, length, length]; the last row ends early."""
    draw = np.random.default_rng(length + 1)
    mask = np.arange(length) < np.array([length] * (batch - 1) + [max(1, length - 3)])[:, np.newaxis]
    documents = _documents(draw, batch, length) if packed else np.zeros([batch, length], np.int32)
    pairs = (documents[:, :, np.newaxis] == documents[:, np.newaxis]) & mask[:, np.newaxis]
    if window is not None:
        pairs &= np.abs(np.subtract.outer(np.arange(length), np.arange(length))) <= window
    given = tf.constant(documents) if packed else None
    return AttentionMask.of(tf.constant(mask), given, window), pairs


def _twin(query: np.ndarray, key: np.ndarray, value: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Query by query, over the keys that it sees."""
    result = np.zeros_like(value)
    for row, head, place in itertools.product(*(range(n) for n in query.shape[:3])):
        seen = pairs[row, place]
        if seen.any():
            weights = numpy_bert.softmax(query[row, head, place] @ key[row, head, seen].T)
            result[row, head, place] = weights @ value[row, head, seen]
    return result


def _plain(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, pairs: np.ndarray | tf.Tensor, dropped: Dropout
) -> tf.Tensor:
    scores = tf.matmul(query, key, transpose_b=True)
    scores = tf.where(tf.expand_dims(pairs, 1), scores, tf.cast(-1e9, scores.dtype))
    return tf.matmul(dropout(tf.nn.softmax(scores), *dropped), value)


def _assert_same(length: int, window: int | None, packed: bool, *, batch: int = 1, rate: float = 0.0) -> None:
    """Outputs and the three gradients, at the positions that attend to something."""
    *inputs, above = (tf.constant(x) for x in _arrays(length, batch))
    attention_mask, pairs = _attention_mask(length, batch, window, packed)
    used = tf.constant(pairs.any(-1)[:, np.newaxis, :, np.newaxis], tf.float64)
    dropped = Dropout(rate, SEED if rate else None)
    results = []
    for form in (
        lambda *qkv: block_attention(*qkv, attention_mask, dropped, statistics=tf.float64),
        lambda *qkv: _plain(*qkv, pairs, dropped),
    ):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            context = form(*inputs) * used
        results.append([context, *tape.gradient(context, inputs, above)])
    for ours, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-10, err_msg=f"{length=}")


@pytest.mark.parametrize(
    ("window", "packed"),
    [
        pytest.param(None, False, id="None-whole"),
        pytest.param(9, False, id="9-whole"),
        pytest.param(9, True, id="9-packed"),
        pytest.param(600, True, id="600-packed"),
        pytest.param(None, True, id="None-packed", marks=pytest.mark.slow),
        pytest.param(600, False, id="600-whole", marks=pytest.mark.slow),
    ],
)
def test_texts_of_all_lengths_up_to_300_equal_plain_attention(window: int | None, packed: bool) -> None:
    """One text of each length, all in one compiled program."""
    longest = 300
    draw = np.random.default_rng(0)
    *inputs, above = (tf.constant(draw.normal(size=(longest, 1, longest, SIZE))) for _ in range(4))
    mask = np.arange(longest) < 1 + np.arange(longest)[:, np.newaxis]
    documents = tf.constant(_documents(draw, longest, longest)) if packed else None
    attention_mask = AttentionMask.of(tf.constant(mask), documents, window)
    used = tf.constant(mask[:, np.newaxis, :, np.newaxis], tf.float64)

    def results(form: Callable[..., tf.Tensor]) -> list[tf.Tensor]:
        def run(*inputs: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                context = form(*inputs) * used
            return [context, *tape.gradient(context, inputs, above)]

        return tf.function(run, jit_compile=True, autograph=False)(*inputs)

    ours = results(lambda *qkv: block_attention(*qkv, attention_mask, statistics=tf.float64))
    plain = results(lambda *qkv: _plain(*qkv, attention_mask.of_pairs()[:, 0], Dropout()))
    for one, wanted in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, wanted, rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["whole", "packed"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_every_length_of_rows_up_to_300_equals_plain_attention(window: int | None, packed: bool) -> None:
    for length in range(1, 301):
        _assert_same(length, window, packed, batch=2)


@pytest.mark.parametrize("packed", [False, True], ids=["whole", "packed"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_several_rows_and_dropped_weights_equal_plain_attention(window: int | None, packed: bool) -> None:
    for length in (5, 63, 64, 65):
        _assert_same(length, window, packed, batch=3, rate=0.3)


@pytest.mark.parametrize("packed", [False, True], ids=["whole", "packed"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_it_equals_the_numpy_twin(window: int | None, packed: bool) -> None:
    query, key, value, _ = _arrays(75, 2)
    attention_mask, pairs = _attention_mask(75, 2, window, packed)
    ours = block_attention(query, key, value, attention_mask, statistics=tf.float64).numpy()
    used = pairs.any(-1)[:, np.newaxis, :, np.newaxis]
    np.testing.assert_allclose(ours * used, _twin(query, key, value, pairs) * used, atol=1e-12)


def test_blocks_that_cannot_interact_are_not_computed() -> None:
    """What stands in another document's block could be no number at all."""
    length = 4 * SMALL
    documents = tf.constant(np.arange(length)[np.newaxis] // SMALL, tf.int32)
    x = np.random.default_rng(0).normal(size=(1, HEADS, length, SIZE))
    x[:, :, 2 * SMALL : 3 * SMALL] = np.nan
    attention_mask = AttentionMask.of(tf.ones([1, length], tf.bool), documents, None)
    context = block_attention(x, x, x, attention_mask, statistics=tf.float64).numpy()
    assert np.isnan(context[:, :, 2 * SMALL : 3 * SMALL]).all()
    assert np.isfinite(np.delete(context, np.s_[2 * SMALL : 3 * SMALL], axis=2)).all()


@pytest.mark.parametrize(
    ("jit_compile", "is_static", "window"),
    [
        pytest.param(True, True, 9, id="xla-known length-9"),
        pytest.param(True, False, None, id="xla-unknown length-None"),
        pytest.param(False, True, None, id="graph-known length-None"),
        pytest.param(False, False, 9, id="graph-unknown length-9"),
        pytest.param(True, True, None, id="xla-known length-None", marks=pytest.mark.slow),
        pytest.param(True, False, 9, id="xla-unknown length-9", marks=pytest.mark.slow),
        pytest.param(False, True, 9, id="graph-known length-9", marks=pytest.mark.slow),
        pytest.param(False, False, None, id="graph-unknown length-None", marks=pytest.mark.slow),
    ],
)
def test_the_layer_takes_blocks_from_their_length_on(
    monkeypatch: pytest.MonkeyPatch, window: int | None, is_static: bool, jit_compile: bool
) -> None:
    """Compiled and not: the same numbers as of all positions at once, gradients included."""
    layer = SelfAttention(8, HEADS, rotation=Rotary(8 // HEADS, 100.0), window=window)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 70, 8)), tf.float32)
    mask = tf.sequence_mask([70, 61])
    results = []
    for least in (70, 71):
        for name in ("FULL_LENGTH", "BAND_LENGTH"):
            monkeypatch.setattr(blocks, name, least)

        def run(x: tf.Tensor, mask: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x, mask)[:, :61] ** 2)
            return [loss, *tape.gradient(loss, layer.trainable_variables)]

        size = 70 if is_static else None
        signature = [tf.TensorSpec([2, size, 8]), tf.TensorSpec([2, size], tf.bool)]
        results.append(tf.function(run, signature, jit_compile=jit_compile, autograph=False)(x, mask))
    for ours, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(("window", "least"), [(None, 1024), (64, 256), (4096, 1024)])
def test_short_texts_are_read_at_once(window: int | None, least: int) -> None:
    assert not takes_blocks(least - 1, window)
    assert takes_blocks(least, window)
