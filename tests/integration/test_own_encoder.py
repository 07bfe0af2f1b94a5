"""An encoder of a user's own from training to an export that is loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import SPECIAL, WORDS

import tf_mlm
from tf_mlm.config import Buckets, ModelConfig
from tf_mlm.export.saved_model import export
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.model.questions import Inference
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import parameters
from tf_mlm.training.step import Batch, TrainStep

BUCKETS = Buckets(batch=(2,), length=(16,), masks=(2,))
TEXTS = ["the [MASK] sat on", "a [MASK] ran"]


class Convolution(tf.Module):
    """Each token with its neighbours, behind dropout; it has nothing but what `tf_mlm.Encoder` asks for."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.config = ModelConfig(
            vocab_size=vocabulary, hidden_size=8, num_attention_heads=2, max_position_embeddings=16
        )
        self.table = tf.Variable(tf.random.stateless_normal([vocabulary, 8], seed=[0, 1]), name="table")
        self.kernel = tf.Variable(tf.random.stateless_normal([3, 8, 8], seed=[2, 3]), name="kernel")

    def __call__(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, segment_ids: Any, *, dropout_seed: Any = None
    ) -> tf.Tensor:
        real = tf.sequence_mask(lengths, tf.shape(token_ids)[1], tf.float32)[..., tf.newaxis]
        x = tf.gather(self.table, token_ids) * real
        if dropout_seed is not None:
            x = tf.nn.experimental.stateless_dropout(x, 0.1, seed=dropout_seed)
        x = tf.pad(x, [[0, 0], [1, 1], [0, 0]])
        around = [x[:, :-2], x[:, 1:-1], x[:, 2:]]
        return tf.add_n([tf.matmul(part, self.kernel[i]) for i, part in enumerate(around)])


@pytest.fixture
def model() -> tf_mlm.MaskedLM:
    vocabulary = tf_mlm.Vocabulary(SPECIAL + WORDS)
    head = MaskedLMHead(vocabulary.size, hidden_dim=8, kernel_initializer="orthogonal")
    preprocessor = tf_mlm.TextPreprocessor(vocabulary, 16)
    return tf_mlm.MaskedLM(Convolution(vocabulary.size), head, preprocessor=preprocessor)


def test_it_learns(model: tf_mlm.MaskedLM) -> None:
    config = TrainConfig()
    optimizer = Optimizer(parameters(model), lambda step: tf.constant(0.05), config)
    step = tf.function(TrainStep.from_config(model, optimizer, config), autograph=False, jit_compile=True)
    inputs = model.preprocessor(tf.constant(TEXTS))
    cat, dog = (tf_mlm.Vocabulary(SPECIAL + WORDS).tokens.index(word) for word in ("cat", "dog"))
    batch = Batch(
        inputs.token_ids, inputs.lengths, inputs.mask_positions, tf.constant([[cat], [dog]]), tf.ones([2, 1])
    )
    losses = [float(step(batch)[0]) for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]
    fills = tf_mlm.FillMask(model)(TEXTS, top_k=1)
    assert [fill[0]["token_str"] for fill in fills] == ["cat", "dog"]


def test_its_export_answers_as_it_does(model: tf_mlm.MaskedLM, tmp_path: Path) -> None:
    path = export(model, tmp_path / "mlm", buckets=BUCKETS, top_k=3, xla=False)
    text = tf.constant(TEXTS)
    reloaded = tf.saved_model.load(str(path)).signatures["serving_default"](text=text)
    ours = Inference(model, buckets=BUCKETS, top_k=3, xla=False).fill(text)
    np.testing.assert_array_equal(reloaded["tokens"], ours["tokens"])
    np.testing.assert_allclose(reloaded["scores"], ours["scores"], rtol=1e-5)
    direct = tf.nn.softmax(model(model.preprocessor(text)))
    np.testing.assert_allclose(ours["scores"], tf.math.top_k(direct, 3)[0], rtol=1e-5)
