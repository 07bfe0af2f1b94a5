"""Products in integers: exact beside NumPy's, and a row's are its own whatever stands beside it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf
from reference.platforms import needs_onednn

from tf_mlm.layers import int8_product, onednn
from tf_mlm.layers.compact_weight import multiplied
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.int8_product import (
    LEVELS,
    LEVELS_OF_PAIRS,
    is_built_with_int8_product,
    rounded_rows,
    times_int8,
)
from tf_mlm.layers.int8_weight import Int8Weight
from tf_mlm.model.graph_rewriting import graphs_as_written

pytestmark = needs_onednn
INPUTS, OUTPUTS = 48, 20


def weight(seed: int, transposed: bool = True) -> Int8Weight:
    chance = np.random.default_rng(seed)
    floats = chance.normal(size=[OUTPUTS, INPUTS]) * chance.lognormal(size=[OUTPUTS, 1]) ** 2
    floats = floats if transposed else floats.T
    return Int8Weight(tf.constant(floats, tf.float32), 0 if transposed else 1)


def some_rows(count: int, seed: int = 1) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return (chance.normal(size=[count, INPUTS]) * chance.lognormal(size=[count, 1])).astype(np.float32)


def exact(rows: np.ndarray, by: Int8Weight, levels: int = LEVELS) -> tuple[np.ndarray, np.ndarray]:
    """The sums in NumPy's integers [count, outputs], and the float that each stands for one of."""
    values, scale = by.values.numpy().astype(np.int64), by.scale.numpy().astype(np.float64)
    matrix = values.T if by.channel_axis == 0 else values
    largest = np.maximum(np.abs(rows).max(1, initial=0, keepdims=True), np.float32(1e-30))
    levelled = rows * (np.float32(levels) / largest) + np.float32(levels + 0.5)
    integers = np.floor(levelled).astype(np.int64) - levels
    return integers @ matrix, scale.reshape(1, -1) * (largest / np.float32(levels))


def assert_exact(found: tf.Tensor, rows: np.ndarray, by: Int8Weight) -> None:
    """Every sum, to the nearest integer."""
    sums, unit = exact(rows, by)
    np.testing.assert_allclose(np.asarray(found) / unit, sums, rtol=1e-6, atol=0.4)


def in_a_graph(by: Int8Weight, known: int | None = None) -> tf.types.experimental.ConcreteFunction:
    specs = [tf.TensorSpec([known, INPUTS], tf.float32)]
    return tf.function(by.times, input_signature=specs, autograph=False).get_concrete_function()


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7, 300])
def test_sums_are_those_of_integers(count: int, transposed: bool) -> None:
    by, rows = weight(0, transposed), some_rows(count)
    rows[count // 2 :][:1] = 0
    found = in_a_graph(by)(tf.constant(rows))
    assert_exact(found, rows, by)
    assert_exact(by.times(tf.constant(rows)), rows, by)
    np.testing.assert_allclose(in_a_graph(by, count)(tf.constant(rows)), found, rtol=1e-6)


def test_a_row_that_is_no_number_gives_none_and_leaves_the_others_alone() -> None:
    by, rows = weight(0, True), some_rows(4)
    rows[1, 3], rows[2, 5] = np.nan, np.inf
    found = in_a_graph(by)(tf.constant(rows)).numpy()
    assert not np.isfinite(found[1:3]).any()
    assert_exact(found[::3], rows[::3], by)


@pytest.mark.parametrize("levels", [LEVELS, LEVELS_OF_PAIRS])
def test_a_row_has_levels_of_its_own(levels: int) -> None:
    rows = some_rows(9)
    shifted, scale = rounded_rows(tf.constant(rows), float(levels))
    integers = shifted.numpy().astype(int) - levels
    assert (np.abs(integers).max(1) == levels).all()
    assert (np.abs(integers * scale.numpy() - rows) <= scale.numpy() * 0.5001).all()


AS_LOUD_AS_CAN_BE = """
import numpy as np, tensorflow as tf
from tf_mlm.layers.int8_product import row_levels
from tf_mlm.layers.int8_weight import Int8Weight
by = Int8Weight(tf.ones([64, 512]), 0)
spec = [tf.TensorSpec([None, 512])]
times = tf.function(lambda rows: (by.times(rows), row_levels()), input_signature=spec, autograph=False)
for count in (1, 100):
    for sign in (1, -1):
        found, levels = times(sign * tf.ones([count, 512]))
        np.testing.assert_allclose(found, np.full([count, 64], sign * 512), rtol=1e-6)
print("levels", int(levels))
"""


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE_VNNI"])
def test_no_processor_cuts_sums_off(instructions: str) -> None:
    """oneDNN is told to use the instructions of an older processor than this one, or of this one."""
    done = subprocess.run(
        [sys.executable, "-c", AS_LOUD_AS_CAN_BE],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    levels = int(done.stdout.split()[-1])
    assert levels in ((LEVELS, LEVELS_OF_PAIRS) if "VNNI" in instructions else (LEVELS_OF_PAIRS,))


def test_a_row_does_not_depend_on_the_others() -> None:
    times, rows = in_a_graph(weight(0)), some_rows(40)
    together = times(tf.constant(rows)).numpy()
    loud = np.concatenate([rows, 1e6 * some_rows(3)])
    np.testing.assert_array_equal(times(tf.constant(loud)).numpy()[:40], together)
    for place in (0, 39):
        np.testing.assert_array_equal(times(tf.constant(rows[place : place + 1])).numpy()[0], together[place])


@graphs_as_written()  # as exports are; rewriting takes most of the time
def test_matrices_of_one_shape_are_not_taken_for_each_other() -> None:
    """The operation keeps what it packed, and oneDNN what it compiled, by shape and by address."""
    rows = some_rows(5)

    def every(weights: list[Int8Weight]) -> list[tf.Tensor]:
        return tf.function(lambda x: [one.times(x) for one in weights], autograph=False)(tf.constant(rows))

    for begin in range(0, 16, 4):
        weights = [weight(seed) for seed in range(begin, begin + 4)]
        for found, by in zip(every(weights), weights, strict=True):
            assert_exact(found, rows, by)
        del weights
        gc.collect()


def test_a_graph_asks_once_what_the_processor_does_and_can_go() -> None:
    weights = [weight(seed) for seed in range(3)]

    def every(rows: tf.Tensor) -> list[tf.Tensor]:
        return [one.times(rows) for one in weights]

    graph = tf.function(every, autograph=False).get_concrete_function(tf.TensorSpec([None, INPUTS])).graph
    assert sum(node.type == int8_product.OPERATION for node in graph.get_operations()) == 3 + 2
    seen = weakref.ref(graph)
    del graph
    gc.collect()
    assert seen() is None


def test_counts_may_alternate() -> None:
    """oneDNN may want another order of the matrix for another count; what it kept is then of no use."""
    by = weight(3)
    times = in_a_graph(by)
    for count in (1, 300, 2, 64, 1, 300):
        rows = some_rows(count, seed=count)
        assert_exact(times(tf.constant(rows)), rows, by)


@pytest.mark.parametrize("is_int8", [True, False])
def test_a_dense_layer_multiplies_integers_where_they_are_asked_for(is_int8: bool) -> None:
    dense = Dense(INPUTS, OUTPUTS, "gelu", bias_initializer="random_normal", dtype="float32")
    dense.kernel = weight(5)

    def call(x: tf.Tensor) -> tf.Tensor:
        with multiplied("int8" if is_int8 else "float"):
            return dense(x)

    rows = some_rows(6)
    function = tf.function(call, autograph=False).get_concrete_function(tf.TensorSpec([None, 2, INPUTS]))
    found = function(tf.reshape(rows, [3, 2, INPUTS]))
    kinds = {node.type for node in function.graph.get_operations()}
    assert (int8_product.OPERATION in kinds) == is_int8
    assert found.shape == [3, 2, OUTPUTS]
    floats = tf.convert_to_tensor(dense.kernel)
    by_floats = dense.activation(tf.constant(rows @ floats.numpy().T) + dense.bias)
    by_integers = dense.activation(
        tf.constant(np.multiply(*exact(rows, dense.kernel)), tf.float32) + dense.bias
    )
    expected = by_integers if is_int8 else by_floats
    np.testing.assert_allclose(tf.reshape(found, [6, OUTPUTS]), expected, rtol=1e-4, atol=1e-4)
    assert 1e-3 < np.abs(by_integers - by_floats).max() / np.abs(by_floats).max() < 0.05


def test_builds_for_this_platform_have_what_int8_programs_hold() -> None:
    assert is_built_with_int8_product()


@pytest.mark.parametrize(("module", "name"), [(int8_product, "OPERATION"), (onednn, "SCORES")])
def test_the_operations_are_looked_for_and_not_supposed(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    monkeypatch.setattr(module, name, "_NoSuchOperation")
    assert not is_built_with_int8_product.__wrapped__()


@pytest.mark.parametrize("eager", [True, False])
def test_rows_that_are_rounded_twice_are_as_good_as_not_rounded(eager: bool) -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal(size=[7, 96]).astype(np.float32) * chance.lognormal(size=[7, 96], sigma=2)
    rows[2] = 0
    values = chance.integers(-127, 128, [40, 96]).astype(np.int8)
    scale = chance.uniform(1e-3, 1e-2, [40]).astype(np.float32)
    exact = rows.astype(np.float64) @ (values * scale[:, np.newaxis].astype(np.float64)).T

    def off(twice: bool) -> float:
        def product() -> tf.Tensor:
            inputs = tf.constant(rows.astype(np.float32)), tf.constant(values), tf.constant(scale)
            sums = tf.constant(values.sum(1, dtype=np.float32) * scale)
            return times_int8(*inputs, sums, transposed=True, twice=twice)

        found = product() if eager else tf.function(product, autograph=False)()
        return float(np.square(found - exact).mean() ** 0.5)

    assert off(True) < off(False) / 50
