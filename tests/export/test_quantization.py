"""int8: what is stored, what is answered, and that two loads do not share what they compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers its operations)

from tf_mlm.export.quantization import quantize, stored_as
from tf_mlm.export.state import state_of
from tf_mlm.layers.compact_weight import multiplied
from tf_mlm.layers.int8_weight import Int8Weight, rounded
from tf_mlm.model.masked_lm import MaskedLM


@pytest.mark.parametrize("axis", [0, 1])
def test_each_channel_is_rounded_to_the_nearest_of_its_own_255_levels(axis: int) -> None:
    chance = np.random.default_rng(0)
    weight = chance.normal(size=[40, 30]).astype(np.float32) * chance.lognormal(size=[40, 30]) ** 2
    weight[3], weight[:, 5] = 0, 0
    values, scale = rounded(weight.astype(np.float32), axis)
    assert values.dtype == np.int8
    assert scale.shape == ((40, 1) if axis == 0 else (1, 30))
    assert np.abs(values.astype(int)).max() == 127
    assert (np.abs(values * scale - weight) <= scale * 0.5001).all()
    used = np.abs(weight).max(axis=1 - axis) > 0
    assert (np.abs(values.astype(int)).max(axis=1 - axis)[used] == 127).all()


@pytest.mark.parametrize("jit", [None, True])
def test_it_reads_casts_gathers_and_multiplies_like_a_variable(jit: bool | None) -> None:
    floats = tf.random.stateless_normal([6, 4], seed=[1, 2])
    weight = Int8Weight(floats, channel_axis=0)
    expected = weight.values.numpy() * weight.scale.numpy()
    ids = tf.constant([[5, 0], [2, 2]])

    @tf.function(jit_compile=jit, autograph=False)
    def use(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tf.gather(weight, ids), tf.matmul(x, weight), tf.cast(weight, tf.bfloat16), weight[1:3]

    gathered, product, cast, part = use(tf.ones([2, 6]))
    np.testing.assert_array_equal(gathered, expected[ids.numpy()])
    np.testing.assert_allclose(product, np.ones([2, 6]) @ expected, rtol=1e-6)
    assert cast.dtype == tf.bfloat16
    np.testing.assert_array_equal(part, expected[1:3])
    assert {variable.dtype for variable in weight.variables} == {tf.int8, tf.float32}


@pytest.mark.parametrize("xla", [True, False])
@pytest.mark.parametrize("rows", [1, 2])
def test_only_a_single_row_under_xla_is_multiplied_with_int8(
    tiny_model: MaskedLM, xla: bool, rows: int
) -> None:
    table = quantize(tiny_model).head.token_embedding
    assert table is not None
    x = tf.random.stateless_normal([rows, table.output_dim], [1, 2])

    @tf.function(jit_compile=xla or None, autograph=False)
    def project(x: tf.Tensor) -> tf.Tensor:
        with multiplied("xla" if xla else "float"):
            return table.project(x)

    expected = x.numpy() @ (table.embeddings.values.numpy() * table.embeddings.scale.numpy()).T
    np.testing.assert_allclose(project(x), expected, atol=1e-5)
    graph = project.get_concrete_function(x).graph.as_graph_def()
    casts = [node for function in graph.library.function for node in function.node_def if node.op == "Cast"]
    from_int8 = [node for node in casts if node.attr["SrcT"].type == tf.int8.as_datatype_enum]
    assert bool(from_int8) == xla
    table.embeddings.values.assign(
        tf.zeros_like(table.embeddings.values)
    )  # the floats stay as they were made
    assert bool(np.abs(project(x)).max() == 0) == (xla and rows == 1)


def test_every_matrix_but_positions_and_segments_is_int8_and_the_table_is_one(tiny_model: MaskedLM) -> None:
    quantized = quantize(tiny_model)
    matrices = [v for v in quantized.variables if v.shape.rank == 2 and v.dtype == tf.float32]
    config = tiny_model.config
    left = {v.shape[0] for v in matrices if min(v.shape) > 1}
    assert left == {config.max_position_embeddings, config.type_vocab_size}
    assert quantized.head.token_embedding is quantized.encoder.embedding.token
    assert stored_as(quantized) == "int8"
    twice = [module.name for module in quantized.submodules if getattr(module, "rounds_twice", False)]
    assert sorted(twice) == ["embeddings", "kernel"]  # the head's
    assert stored_as(tiny_model) is None
    assert all(variable.dtype == tf.float32 for variable in tiny_model.variables)


def test_an_encoder_of_another_kind_is_refused(tiny_model: MaskedLM) -> None:
    with pytest.raises(ValueError, match="Only an encoder that is made of"):
        quantize(MaskedLM(lambda *_: tf.zeros([1]), tiny_model.head))


class TwoWeights(tf.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        shape = [6, 4]
        self.weights = [Int8Weight(tf.random.stateless_normal(shape, [seed, n]), 0) for n in range(2)]

    @tf.function(input_signature=[])
    def read(self) -> tf.Tensor:
        return tf.stack([weight.read() for weight in self.weights])


def test_two_loads_keep_their_own_floats(tmp_path: Path) -> None:
    modules = {name: TwoWeights(seed) for seed, name in enumerate(("one", "other"))}
    for name, module in modules.items():
        root = tf.Module()
        root.state = state_of(module)
        tf.saved_model.save(root, str(tmp_path / name), signatures=module.read.get_concrete_function())
    loaded = [(name, tf.saved_model.load(str(tmp_path / name))) for name in ("one", "other", "one")]

    def check() -> None:
        for name, reloaded in loaded:
            floats = reloaded.signatures["serving_default"]()["output_0"]
            np.testing.assert_array_equal(floats, modules[name].read())

    check()
    del loaded[0]  # what it held goes; what the other load of the same export holds stays
    check()
