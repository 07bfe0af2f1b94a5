"""Every module, run every way there is: the same numbers each time."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from reference.layer_cases import CASES, Case, initialise

from tf_mlm.model.graph_rewriting import graphs_as_written

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
SHAPES = [(2, 3), (1, 7)]


def assert_close(actual: tf.Tensor, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    actual = tf.cast(actual, tf.float32).numpy()
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def made(case: Case, dtype: str = "float32") -> tf.Module:
    module = case.make(dtype)
    initialise(module)
    return module


@EVERY_CASE
def test_variables_exist_before_the_first_call_and_none_come_later(case: Case) -> None:
    module = case.make("float32")
    before = [id(variable) for variable in module.variables]
    case.call(module, *case.inputs(2, 3))
    assert len(before) == case.variables
    assert [id(variable) for variable in module.variables] == before
    assert all(variable.trainable for variable in module.variables)


@EVERY_CASE
def test_every_variable_has_a_gradient(case: Case) -> None:
    module = made(case)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(case.call(module, *case.inputs(2, 3)) ** 2)
    gradients = tape.gradient(loss, module.trainable_variables)
    missing = [
        variable.name
        for variable, gradient in zip(module.trainable_variables, gradients, strict=True)
        if gradient is None
    ]
    # Reversed and untied, the forward table takes no part; in the other cases everything does.
    assert missing == (["embeddings:0"] if case.name == "embedding_untied_reversed" else [])


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.reference is not None], ids=lambda case: case.name
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_its_float64_twin(case: Case, shape: tuple[int, int]) -> None:
    module = made(case, "float64")
    inputs = case.inputs(*shape)
    expected = case.reference(module, *(x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs))
    actual = case.call(module, *inputs)
    assert actual.dtype == tf.float64
    np.testing.assert_allclose(
        actual, expected, rtol=1e-7, atol=1e-7
    )  # Keras's GELU holds a float32 constant
    assert_close(case.call(made(case), *inputs), expected)


@EVERY_CASE
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_graph_with_unknown_axes_equals_eager(case: Case, jit_compile: bool) -> None:
    module = made(case)
    function = tf.function(
        lambda *inputs: case.call(module, *inputs), input_signature=case.specs(), jit_compile=jit_compile
    )
    for shape in SHAPES:
        inputs = case.inputs(*shape)
        assert_close(function(*inputs), case.call(module, *inputs).numpy())


@EVERY_CASE
def test_static_shape_of_the_graph_is_the_shape_of_the_result(case: Case) -> None:
    module = case.make("float32")
    inputs = case.inputs(2, 3)
    specs = [tf.TensorSpec(x.shape, x.dtype) for x in inputs]
    concrete = tf.function(lambda *inputs: case.call(module, *inputs)).get_concrete_function(*specs)
    assert concrete.structured_outputs.shape.as_list() == list(case.call(module, *inputs).shape)


@EVERY_CASE
@pytest.mark.parametrize(
    ("dtype", "jit_compile"),
    [
        pytest.param("bfloat16", False, id="bfloat16-graph"),
        pytest.param("mixed_bfloat16", True, id="mixed_bfloat16-xla"),
        pytest.param("bfloat16", True, id="bfloat16-xla", marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", False, id="mixed_bfloat16-graph", marks=pytest.mark.slow),
    ],
)
def test_half_precision_is_close_to_float32(case: Case, dtype: str, jit_compile: bool) -> None:
    module, exact = case.make(dtype), made(case)
    for variable, value in zip(module.variables, exact.variables, strict=True):
        variable.assign(tf.cast(value, variable.dtype))
    stored = {variable.dtype for variable in module.variables}
    assert stored == {tf.float32 if dtype == "mixed_bfloat16" else tf.bfloat16}
    inputs = case.inputs(2, 3)
    actual = tf.function(lambda *inputs: case.call(module, *inputs), jit_compile=jit_compile)(*inputs)
    expected = case.call(exact, *inputs).numpy()
    scale = np.abs(expected).max()
    assert np.abs(tf.cast(actual, tf.float32).numpy() - expected).max() < 0.05 * scale


@EVERY_CASE
def test_checkpoint_restores_every_variable(case: Case, tmp_path) -> None:
    module, other = made(case), case.make("float32")
    initialise(other, seed=1)
    inputs = case.inputs(2, 3)
    expected = case.call(module, *inputs).numpy()
    assert not np.allclose(case.call(other, *inputs), expected)
    path = tf.train.Checkpoint(module).save(str(tmp_path / "checkpoint"))
    status = tf.train.Checkpoint(other).restore(path)
    status.assert_consumed()
    np.testing.assert_array_equal(case.call(other, *inputs), expected)


@graphs_as_written()  # each is run twice; rewriting takes longer
@EVERY_CASE
def test_saved_model_keeps_unknown_axes(case: Case, tmp_path) -> None:
    module = made(case)
    holder = tf.Module()
    holder.module = module
    holder.call = tf.function(lambda *inputs: case.call(module, *inputs), input_signature=case.specs())
    tf.saved_model.save(holder, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for shape in SHAPES:
        inputs = [tf.constant(x) for x in case.inputs(*shape)]
        assert_close(loaded.call(*inputs), case.call(module, *inputs).numpy(), 1e-6)
