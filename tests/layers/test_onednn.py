"""oneDNN's operations, beside float64, in shapes that texts come in."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from reference.platforms import needs_onednn

from tf_mlm.export.quantization import quantize
from tf_mlm.layers.compact_weight import multiplied
from tf_mlm.layers.onednn import fused_scores
from tf_mlm.model.masked_lm import MaskedLM

pytestmark = needs_onednn
SIZE, HEADS = 16, 3


@pytest.mark.parametrize("per_query", [False, True], ids=["one row of what is added", "a row per query"])
@pytest.mark.parametrize(("batch", "length"), [(0, 4), (2, 0), (1, 1), (2, 5), (3, 130)])
def test_scores_are_those_of_float64(batch: int, length: int, per_query: bool) -> None:
    chance = np.random.default_rng(0)
    query, key = (chance.normal(size=[batch, HEADS, length, SIZE]) for _ in range(2))
    added = np.where(chance.random([batch, 1, length if per_query else 1, length]) < 0.5, 0.0, -1e9)
    specs = [tf.TensorSpec([None, HEADS, None, SIZE])] * 2 + [tf.TensorSpec([None, 1, None, None])]
    scores = tf.function(lambda *inputs: fused_scores(*inputs[:2], 0.25, inputs[2]), input_signature=specs)
    found = scores(*(tf.constant(part, tf.float32) for part in (query, key, added)))
    expected = query @ np.swapaxes(key, 2, 3) * 0.25 + added
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("how", ["int8", "float", "xla"])
def test_only_programs_that_multiply_integers_hold_them(tiny_model: MaskedLM, how: str) -> None:
    model = quantize(tiny_model)

    def answer(token_ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        with multiplied(how):
            return model(token_ids, lengths, None, tf.zeros([2, 1], tf.int32))

    specs = [tf.TensorSpec([2, None], tf.int32), tf.TensorSpec([2], tf.int32)]
    program = tf.function(answer, input_signature=specs, autograph=False).get_concrete_function()
    kinds = {node.type for node in program.graph.get_operations()}
    kinds |= {node.op for made in program.graph.as_graph_def().library.function for node in made.node_def}
    assert any("Mkl" in kind for kind in kinds) == (how == "int8")
    ids = tf.constant([[2, 5, 7, 3, 0], [2, 9, 3, 0, 0]])
    lengths = tf.constant([4, 3])
    floats = tiny_model(ids, lengths, None, tf.zeros([2, 1], tf.int32))
    np.testing.assert_allclose(program(ids, lengths), floats, atol=0.2)
