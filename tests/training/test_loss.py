"""The fused loss against the plain one, and both against float64 NumPy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.training.loss import LossSums, choose_sums, fused_sums, plain_sums

ROWS, SIZE = 13, 6


def _inputs(vocab: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [
        draw.normal(size=(ROWS, SIZE)).astype(np.float32),
        draw.normal(size=(vocab, SIZE)).astype(np.float32),
        draw.normal(size=vocab).astype(np.float32),
        draw.integers(0, vocab, ROWS).astype(np.int32),
        draw.integers(0, 2, ROWS).astype(np.float32),
    ]


def _twin(
    states: Any, table: Any, bias: Any, targets: Any, weights: Any
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Sums and gradients of the loss, in float64 and loops a reader can check."""
    states, table, bias = (x.astype(np.float64) for x in (states, table, bias))
    sums = np.zeros(3)
    gradients = [np.zeros_like(states), np.zeros_like(table), np.zeros_like(bias)]
    for row, (target, weight) in enumerate(zip(targets, weights, strict=True)):
        logits = table @ states[row] + bias
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        sums += weight * np.array([-np.log(shares[target]), 1, np.argmax(logits) == target])
        error = weight * (shares - np.eye(len(bias))[target])
        gradients[0][row] = error @ table
        gradients[1] += np.outer(error, states[row])
        gradients[2] += error
    return sums, gradients


def _with_gradients(function: Callable[..., LossSums], *, jit: bool = True, **options: Any) -> Any:
    """`run(inputs)` → sums and gradients; a program for all inputs of the same shapes."""

    @tf.function(jit_compile=jit)
    def run(*tensors: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors[:3])
            sums = function(*tensors, **options)
        return sums, tape.gradient(sums.loss, tensors[:3])

    return lambda inputs: run(*(tf.constant(x) for x in inputs))


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize(
    ("vocab", "slice_bytes"),
    [(64, 4 * ROWS * 16), (61, 4 * ROWS * 16), (61, 4 * ROWS), (7, 1 << 20)],
    ids=["even", "seam", "one entry each", "one slice"],
)
def test_fused_equals_plain_and_numpy(vocab: int, slice_bytes: int, jit: bool) -> None:
    inputs = _inputs(vocab)
    expected, expected_gradients = _twin(*inputs)
    for run in (
        _with_gradients(plain_sums, jit=jit),
        _with_gradients(fused_sums, slice_bytes=slice_bytes, jit=jit),
    ):
        sums, gradients = run(inputs)
        np.testing.assert_allclose([float(x) for x in sums], expected, rtol=1e-5)
        for gradient, wanted in zip(gradients, expected_gradients, strict=True):
            np.testing.assert_allclose(gradient, wanted, atol=1e-5)


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("sums", [plain_sums, fused_sums])
def test_bfloat16_states_are_multiplied_as_such_and_summed_in_float32(
    sums: Callable[..., LossSums], jit: bool
) -> None:
    """The twin gets the very numbers that are multiplied: what is left is the rounding of the gradients."""
    inputs = _inputs(61)
    rounded = [tf.cast(tf.cast(x, tf.bfloat16), tf.float32).numpy() for x in inputs[:2]]
    expected, wanted = _twin(*rounded, *inputs[2:])

    @tf.function(jit_compile=jit)
    def run(states: tf.Tensor, table: tf.Tensor, *others: tf.Tensor) -> LossSums:
        states = tf.cast(states, tf.bfloat16)
        with tf.GradientTape() as tape:
            tape.watch([states, table])
            found = sums(states, table, *others)
        return found, tape.gradient(found.loss, [states, table])

    found, gradients = run(*(tf.constant(x) for x in inputs))
    np.testing.assert_allclose([float(x) for x in found], expected, rtol=1e-5)
    assert [gradient.dtype for gradient in gradients] == [tf.bfloat16, tf.float32]
    for gradient, twin in zip(gradients, wanted, strict=False):
        np.testing.assert_allclose(tf.cast(gradient, tf.float32), twin, atol=2**-7 * abs(twin).max())


def test_large_logits_do_not_overflow() -> None:
    inputs = _inputs(32)
    inputs[0] *= 200
    (fused, gradients), (plain, _) = (
        _with_gradients(fused_sums, slice_bytes=4 * ROWS * 8)(inputs),
        _with_gradients(plain_sums)(inputs),
    )
    np.testing.assert_allclose(fused.loss, plain.loss, rtol=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_shards_add_up_to_the_whole() -> None:
    inputs = _inputs(20)
    whole = plain_sums(*inputs)
    parts = [
        plain_sums(inputs[0][cut], *inputs[1:3], inputs[3][cut], inputs[4][cut])
        for cut in (slice(0, 4), slice(4, ROWS))
    ]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0), rtol=1e-6)


def test_auto_takes_the_fused_form_only_where_all_logits_would_be_large() -> None:
    assert choose_sums("auto", 320, 8000) is plain_sums
    assert choose_sums("auto", 4096, 50000) is fused_sums
    assert choose_sums("fused", 1, 10) is fused_sums


def test_fused_never_holds_all_logits() -> None:
    rows, vocab = 512, 4096

    def largest(function: Callable[..., LossSums]) -> int:
        shapes = [[rows, 8], [vocab, 8], [vocab]]
        specs = [tf.TensorSpec(shape) for shape in shapes]

        @tf.function(input_signature=[*specs, tf.TensorSpec([rows], tf.int32), tf.TensorSpec([rows])])
        def run(*tensors: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(tensors[:3])
                loss = function(*tensors).loss
            return tape.gradient(loss, tensors[:3])

        text = tf.function(run, jit_compile=True).experimental_get_compiler_ir(
            *(tf.zeros(spec.shape, spec.dtype) for spec in run.input_signature)
        )(stage="hlo")
        sizes = [
            int(np.prod([int(n) for n in shape.split(",")])) for shape in re.findall(r"f32\[([\d,]+)\]", text)
        ]
        return max(sizes)

    assert largest(plain_sums) == rows * vocab
    assert largest(lambda *x: fused_sums(*x, slice_bytes=4 * rows * 256)) <= rows * 256
    assert rows * 256 > vocab * 8


def test_fused_names_what_it_needs() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def run(states: tf.Tensor) -> tf.Tensor:
        rows = tf.shape(states)[0]
        return fused_sums(
            states, tf.zeros([9, 4]), tf.zeros([9]), tf.zeros([rows], tf.int32), tf.ones([rows])
        ).loss

    with pytest.raises(ValueError, match="known number of rows"):
        run.get_concrete_function()


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize(
    ("vocab", "slice_bytes"),
    [(61, 4 * ROWS * 16), (61, 4 * ROWS), (64, 4 * ROWS * 16), (7, 1 << 20)],
    ids=["overlap", "one entry each", "even", "one slice"],
)
def test_a_forbidden_token_counts_nothing_and_costs_everything(
    vocab: int, slice_bytes: int, jit: bool
) -> None:
    inputs = _inputs(vocab)
    states, table, bias, targets, weights = inputs
    forbidden = [0, 1, 2, vocab - 2]  # the first of a slice, a whole slice of one, one in the overlap
    bias[forbidden] = -np.inf
    targets[weights == 0] = 0  # the filler of unused slots
    hidden = weights == 1
    allowed = np.setdiff1d(np.arange(vocab), forbidden)
    targets[hidden] = np.random.default_rng(1).choice(allowed, hidden.sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        # The twin counts rows of weight 0 as 0 · ∞, so it is not shown them.
        expected, wanted = _twin(states[hidden], table, bias, targets[hidden], weights[hidden])
    whole = np.zeros_like(states, np.float64)
    whole[hidden] = wanted[0]
    for function, options in ((plain_sums, {}), (fused_sums, {"slice_bytes": slice_bytes})):
        run = _with_gradients(function, jit=jit, **options)
        sums, gradients = run(inputs)
        np.testing.assert_allclose([float(x) for x in sums], expected, rtol=1e-5)
        for gradient, value in zip(gradients, (whole, *wanted[1:]), strict=True):
            np.testing.assert_allclose(gradient, value, atol=1e-5)
        first = int(np.flatnonzero(hidden)[0])
        changed = targets.copy()
        for token in forbidden:
            changed[first] = token
            assert float(run([*inputs[:3], changed, weights])[0].loss) == np.inf
