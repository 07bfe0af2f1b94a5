"""Recomputed results: the same bits, and less memory in the compiled program."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.recompute import recomputed

LAYERS, ROWS, WIDTH = 6, 64, 256


def _gradients(again: bool, jit_compile: bool) -> tuple[tf.types.experimental.PolymorphicFunction, tf.Tensor]:
    draw = np.random.default_rng(0)
    weights = [tf.Variable(draw.normal(size=(8, WIDTH)), dtype=tf.float32) for _ in range(LAYERS)]
    x = tf.constant(draw.normal(size=(ROWS, 8)), tf.float32)

    def layer(x: tf.Tensor, weight: tf.Variable) -> tf.Tensor:
        wide = tf.tanh(tf.tanh(tf.matmul(x, weight)) * 3.0)
        return x + tf.matmul(wide, weight, transpose_b=True) / WIDTH

    def run(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for weight in weights:
                each = lambda x, weight=weight: layer(x, weight)  # noqa: E731
                y = recomputed(each, y) if again else each(y)
            loss = tf.reduce_sum(y**2)
        return [loss, *tape.gradient(loss, [x, *weights])]

    return tf.function(run, jit_compile=jit_compile, autograph=False), x


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_results_and_gradients_are_the_same_bits(jit_compile: bool) -> None:
    kept, again = (_gradients(again, jit_compile) for again in (False, True))
    for ours, wanted in zip(again[0](again[1]), kept[0](kept[1]), strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_the_compiler_does_not_make_both_computations_one() -> None:
    """The optimised program holds each `tanh` of a layer twice."""
    counts = []
    for again in (False, True):
        function, x = _gradients(again, True)
        text = function.experimental_get_compiler_ir(x)(stage="optimized_hlo")
        counts.append(text.count(" tanh("))
    assert counts[1] >= 2 * counts[0] - 2, counts
