"""int8 kernels fitted to text: the same floats, smoother inputs, products nearer to the float ones."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.export import int8_fitting
from tf_mlm.export.accuracy import compare
from tf_mlm.export.int8_fitting import BLOCK, compensated, fit
from tf_mlm.export.quantization import quantize
from tf_mlm.layers.int8_weight import rounded
from tf_mlm.model.masked_lm import MaskedLM

POST_NORM = ModelConfig(
    vocab_size=90,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=32,
    initializer_range=0.2,
)
PRE_NORM = dataclasses.replace(POST_NORM, norm_position="pre", gated=True)
NO_BIAS = dataclasses.replace(PRE_NORM, norm_bias=False, mlp_bias=False, attention_bias=False)
# The kernel of queries and keys reads distances, too, which no norm could even out.
DISTANCES = dataclasses.replace(
    PRE_NORM,
    relative_parts=("c2p", "p2c"),
    relative_shared=True,
    position_buckets=8,
    max_relative_positions=32,
)
CONFIGS = {
    "post-norm": POST_NORM,
    "pre-norm and gated": PRE_NORM,
    "without biases": NO_BIAS,
    "distances": DISTANCES,
}


def batches(seed: int) -> list[tuple[tf.Tensor, ...]]:
    chance = np.random.default_rng(seed)
    return [
        (
            tf.constant(chance.integers(0, 90, [16, 24]), tf.int32),
            tf.constant(chance.integers(8, 25, [16]), tf.int32),
            tf.constant(chance.integers(0, 8, [16, 4]), tf.int32),
            tf.constant(chance.integers(0, 90, [16, 4]), tf.int32),
            tf.ones([16, 4]),
        )
        for _ in range(4)
    ]


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> MaskedLM:
    """With outliers: some outputs of the norms and some gates are twenty times the others."""
    model = MaskedLM.from_config(CONFIGS[request.param], seed=3)
    chance = np.random.default_rng(3)
    for variable in model.variables:
        if variable.shape.rank == 1:
            variable.assign(variable + chance.normal(0, 0.1, variable.shape))
    for block in model.encoder.blocks:
        for norm in (block.attention_norm, block.output_norm):
            if norm is not None:
                norm.gamma[5].assign(20.0)
        rows = block.intermediate.kernel.shape[0]
        block.intermediate.kernel[rows - 7].assign(20 * block.intermediate.kernel[rows - 7])
    return model


def test_a_smoothed_model_answers_as_before_and_its_inputs_are_more_even(model: MaskedLM) -> None:
    ids, lengths, positions, *_ = batches(1)[0]
    expected = model(ids, lengths, None, positions)
    smoothed = copy.deepcopy(model)
    assert len(fit(smoothed, batches(0))) == 2 * 4 + 1
    np.testing.assert_allclose(smoothed(ids, lengths, None, positions), expected, atol=2e-4)
    pairs = zip(model.encoder.blocks, smoothed.encoder.blocks, strict=True)
    changed = [
        not np.allclose(a.output_norm.gamma, b.output_norm.gamma)
        and np.ptp(np.log(np.abs(b.output_norm.gamma))) < np.ptp(np.log(np.abs(a.output_norm.gamma)))
        for a, b in pairs
    ]
    assert all(changed) if model.encoder.blocks[0].is_pre_norm else not any(changed)


def test_what_a_layer_is_fitted_to_are_its_inputs_after_smoothing(model: MaskedLM) -> None:
    fitted = fit(model, batches(0))
    for dense, inputs in int8_fitting._inputs(model, batches(0)).items():
        gram = fitted[dense].keywords["gram"]
        np.testing.assert_allclose(gram, inputs.gram, rtol=1e-3, atol=1e-3 * np.abs(gram).max())


def test_an_input_that_the_text_does_not_have_is_hardly_changed() -> None:
    model = MaskedLM.from_config(PRE_NORM, seed=3)
    norm = model.encoder.blocks[0].output_norm
    norm.gamma[5].assign(0.0)
    kernel = model.encoder.blocks[0].intermediate.kernel.numpy()
    fit(model, batches(0))
    factors = model.encoder.blocks[0].intermediate.kernel[: PRE_NORM.intermediate_size].numpy()[:, 5]
    assert (np.abs(factors / kernel[: PRE_NORM.intermediate_size, 5]) > 0.05).all()


def test_a_fitted_model_is_nearer_to_the_float_one(model: MaskedLM) -> None:
    before = {variable.ref(): variable.numpy() for variable in model.variables}
    plain = compare(model, quantize(model), batches(1), "int8").kl
    rounded = quantize(model, batches(0))
    fitted = compare(model, rounded, batches(1), "int8").kl
    # The inputs of this post-norm model do not go together, and its norms are read by the residuals, too.
    assert fitted < (0.8 if model.encoder.blocks[0].is_pre_norm else 1.1) * plain
    if not model.encoder.blocks[
        0
    ].is_pre_norm:  # nothing was smoothed, so the nearest values would be the same
        pairs = zip(rounded.encoder.blocks, quantize(model).encoder.blocks, strict=True)
        assert all((a.output.kernel.values.numpy() != b.output.kernel.values.numpy()).any() for a, b in pairs)
    for variable in model.variables:  # the float model is left as it was
        np.testing.assert_array_equal(variable, before[variable.ref()])


@pytest.mark.parametrize("inputs", [BLOCK - 1, 2 * BLOCK + 3])
def test_compensated_weights_have_products_nearer_to_the_floats(inputs: int) -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal(size=[2000, 20]) @ chance.normal(size=[20, inputs])  # inputs that go together
    weight = chance.normal(size=[40, inputs]).astype(np.float32)
    weight[3] = 0
    values, scale = compensated(weight, 0, gram=rows.T @ rows)
    plain, plain_scale = rounded(weight, 0)
    np.testing.assert_array_equal(scale, plain_scale)
    assert values.dtype == np.int8
    assert not values[3].any()
    exact = rows @ weight.T
    errors = [np.square(rows @ (v * scale).T - exact).mean() for v in (values, plain)]
    assert errors[0] < 0.3 * errors[1]
