"""Documents that share a row get the states and the logits that they have alone."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.layers import block_attention as blocks
from tf_mlm.model.graph_rewriting import graphs_as_written
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.packing import pack_apart

LENGTH, VOCAB = 96, 60
BERT = ModelConfig(
    vocab_size=VOCAB,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=LENGTH,
    initializer_range=0.2,
)
MODERN = dataclasses.replace(
    BERT,
    model_type="modernbert",
    type_vocab_size=0,
    norm_position="pre",
    gated=True,
    first_norm=False,
    rope_theta=10_000.0,
    local_rope_theta=100.0,
    layer_types=("full_attention", "sliding_attention"),
    local_attention=8,
)


@pytest.mark.parametrize(
    ("config", "in_blocks", "jit_compile"),
    [
        pytest.param(BERT, False, True, id="bert-at once-xla"),
        pytest.param(BERT, True, False, id="bert-in blocks-graph"),
        pytest.param(MODERN, False, False, id="modernbert-at once-graph"),
        pytest.param(MODERN, True, True, id="modernbert-in blocks-xla"),
        pytest.param(BERT, False, False, id="bert-at once-graph", marks=pytest.mark.slow),
        pytest.param(BERT, True, True, id="bert-in blocks-xla", marks=pytest.mark.slow),
        pytest.param(MODERN, False, True, id="modernbert-at once-xla", marks=pytest.mark.slow),
        pytest.param(MODERN, True, False, id="modernbert-in blocks-graph", marks=pytest.mark.slow),
    ],
)
def test_a_packed_batch_gives_each_document_the_logits_it_has_alone(
    monkeypatch: pytest.MonkeyPatch, config: ModelConfig, in_blocks: bool, jit_compile: bool
) -> None:
    for name in ("FULL_LENGTH", "BAND_LENGTH"):
        monkeypatch.setattr(blocks, name, 1 if in_blocks else 10_000)
    monkeypatch.setattr(blocks, "BLOCK", 32)
    monkeypatch.setattr(blocks, "LEAST_BAND", 8)
    model = MaskedLM.from_config(config, seed=0)
    draw = np.random.default_rng(0)
    documents = [draw.integers(5, VOCAB, size).astype(np.int32) for size in (40, 3, 21, 94, 1, 30, 57)]
    rows = pack_apart(documents, LENGTH, cls_id=2, sep_id=3)
    assert 1 < len(rows.lengths) < len(documents)

    @tf.function(jit_compile=jit_compile, autograph=False, reduce_retracing=True)
    def logits(ids: tf.Tensor, lengths: tf.Tensor, positions: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        return model(ids, lengths, None, positions, position_ids=places)

    every = tf.tile(tf.range(LENGTH)[tf.newaxis], [len(rows.lengths), 1])
    packed = logits(rows.token_ids, rows.lengths, every, rows.position_ids).numpy()
    for row, (ids, length, places) in enumerate(zip(*rows, strict=True)):
        starts = [*np.flatnonzero(places[:length] == 0), length]
        for start, end in itertools.pairwise(starts):
            size = end - start
            alone = model(ids[np.newaxis, start:end], [size], None, np.arange(size)[np.newaxis]).numpy()
            np.testing.assert_allclose(packed[row, start:end], alone[0], atol=1e-5)


@pytest.mark.parametrize(("jit_compile", "tolerance"), [(False, 0.0), (True, 1e-5)], ids=["graph", "xla"])
def test_recomputed_layers_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, jit_compile: bool, tolerance: float
) -> None:
    """As the graph is written: XLA, and TensorFlow when it rewrites graphs, round what they fuse anew."""
    config = dataclasses.replace(MODERN, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    model = MaskedLM.from_config(config, seed=0)
    ids = tf.constant(np.random.default_rng(0).integers(5, VOCAB, (2, 32)), tf.int32)
    results = []
    for recompute in (False, True):
        monkeypatch.setattr(model.encoder, "recompute", recompute)

        @tf.function(jit_compile=jit_compile, autograph=False)
        def run() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                logits = model(ids, [32, 30], None, [[1, 5], [3, 7]], dropout_seed=tf.constant([1, 2]))
                loss = tf.reduce_sum(tf.nn.log_softmax(logits)[..., 7])
            return [loss, *map(tf.convert_to_tensor, tape.gradient(loss, model.trainable_variables))]

        with graphs_as_written():
            results.append(run())
    for kept, again in zip(*results, strict=True):
        np.testing.assert_allclose(kept, again, rtol=0, atol=tolerance * np.abs(kept).max())


def test_position_ids_out_of_range_are_refused() -> None:
    model = MaskedLM.from_config(BERT, seed=0)
    ids = tf.ones([1, 4], tf.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`position_ids` must lie in"):
        model(ids, [4], None, [[1]], position_ids=[[0, 1, 2, LENGTH]])
    with pytest.raises(ValueError, match="`position_ids` must have the shape of `token_ids`"):
        model(ids, [4], None, [[1]], position_ids=[[0, 1, 2]])
