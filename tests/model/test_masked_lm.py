"""Encoder and head together, against the float64 twin and in their parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from reference import numpy_bert

from tf_mlm.config import ModelConfig
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.model.directory.checkpoint import save
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.masking import MaskedLMMaskGenerator

RNG = np.random.default_rng(0)
LENGTHS = np.array([9, 4, 2], np.int32)
IDS = RNG.integers(5, 30, (3, 9), np.int32)
SEGMENTS = RNG.integers(0, 2, (3, 9), np.int32)
POSITIONS = RNG.integers(0, LENGTHS[:, None], (3, 4), np.int32)


def make(**settings: object) -> MaskedLM:
    sizes = {
        "vocab_size": 30,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "max_position_embeddings": 12,
    }
    model = MaskedLM.from_config(ModelConfig(**{**sizes, **settings}), seed=0)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        centre = 1.0 if "gamma" in variable.name else 0.0
        variable.assign(rng.normal(centre, 0.3, variable.shape))
    return model


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-2])
def test_equals_the_float64_twin(activation: str, epsilon: float, tmp_path: Path) -> None:
    model = make(hidden_act=activation, layer_norm_eps=epsilon)
    save(model, tmp_path)
    weights = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    options = {"layers": 2, "heads": 4, "activation": activation, "epsilon": epsilon}
    states = numpy_bert.encode(IDS, LENGTHS, SEGMENTS, weights, **options)
    logits = model(IDS, LENGTHS, SEGMENTS, POSITIONS).numpy()
    hidden = model.encoder(IDS, LENGTHS, SEGMENTS).numpy()
    for row, text in enumerate(states):
        np.testing.assert_allclose(hidden[row, : len(text)], text, atol=2e-5)
        expected = numpy_bert.head(text[POSITIONS[row]], weights, activation, epsilon)
        np.testing.assert_allclose(logits[row], expected, atol=2e-5)


@pytest.mark.parametrize(
    ("settings", "activation", "epsilon"),
    [
        ({"hidden_act": "relu"}, "relu", 1e-12),
        ({"hidden_act": "relu", "model_type": "electra"}, "gelu", 1e-12),
        ({"hidden_act": "relu", "model_type": "roberta"}, "gelu", 1e-12),
        ({"hidden_act": "relu", "head_hidden_act": "tanh", "head_layer_norm_eps": 1e-5}, "tanh", 1e-5),
    ],
    ids=str,
)
def test_the_heads_constants_follow_family_and_config(
    settings: dict, activation: str, epsilon: float
) -> None:
    head = make(**settings).head
    assert head.get_config()["intermediate_activation"] == activation
    assert head.layer_norm_epsilon == epsilon


def test_untied_head_has_a_table_of_its_own() -> None:
    tied, untied = make(), make(tie_word_embeddings=False)
    assert len(untied.variables) == len(tied.variables) + 1
    assert untied.head.output_kernel.shape == [16, 30]
    assert tied.head.token_embedding is tied.encoder.embedding.token


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_bfloat16"])
def test_logits_are_float32(dtype: str) -> None:
    model = MaskedLM.from_config(make().config, dtype=dtype, seed=0)
    assert model(IDS, LENGTHS, SEGMENTS, POSITIONS).dtype == tf.float32


def test_parts_compose_to_the_whole() -> None:
    model = make()
    features = model.masked_states(IDS, LENGTHS, SEGMENTS, POSITIONS)
    logits = tf.einsum("bmf,vf->bmv", features, model.head.output_table) + model.head.output_bias
    np.testing.assert_allclose(logits, model(IDS, LENGTHS, SEGMENTS, POSITIONS), atol=1e-5)
    hidden = model.hidden(*model.states(IDS, LENGTHS, SEGMENTS))
    np.testing.assert_allclose(hidden, model.encoder(IDS, LENGTHS, SEGMENTS), atol=1e-5)


def test_any_callable_can_stand_in_for_the_encoder() -> None:
    model = make()

    def encoder(token_ids: tf.Tensor, lengths: tf.Tensor, segment_ids: tf.Tensor) -> tf.Tensor:
        return model.encoder(token_ids, lengths, segment_ids)

    stand_in = MaskedLM(encoder, model.head)
    expected = model(IDS, LENGTHS, SEGMENTS, POSITIONS)
    np.testing.assert_allclose(stand_in(IDS, LENGTHS, SEGMENTS, POSITIONS), expected, atol=1e-5)


def test_positions_outside_the_texts_are_an_error() -> None:
    for position in (9, -2):
        with pytest.raises(tf.errors.InvalidArgumentError):
            make()(IDS, LENGTHS, SEGMENTS, [[position]] * 3)


def test_new_heads_differ_from_each_other_only_by_their_seed() -> None:
    once, again, other = (MaskedLM.from_config(make().config, seed=seed) for seed in (1, 1, 2))
    kernel = once.head.intermediate_dense.kernel
    np.testing.assert_array_equal(kernel, again.head.intermediate_dense.kernel)
    assert not np.allclose(kernel, other.head.intermediate_dense.kernel)
    assert not np.allclose(kernel, once.encoder.blocks[0].attention_output.kernel)


def test_a_head_may_be_swapped() -> None:
    model = make()
    head = MaskedLMHead(7, hidden_dim=16)
    assert MaskedLM(model.encoder, head)(IDS, LENGTHS, SEGMENTS, POSITIONS).shape == (3, 4, 7)


RUNS = {
    "eager": lambda call: call,
    "graph": tf.function,
    "xla": lambda call: tf.function(call, jit_compile=True),
}


@pytest.mark.parametrize("run", RUNS)
def test_unused_slots_are_zeros_and_change_nothing_else(run: str) -> None:
    model = make()
    positions = np.pad(POSITIONS, [[0, 0], [1, 2]], constant_values=-1)
    logits = RUNS[run](model)(*map(tf.constant, (IDS, LENGTHS, SEGMENTS, positions))).numpy()
    assert not np.any(logits[:, [0, -2, -1]])
    expected = model(IDS, LENGTHS, SEGMENTS, POSITIONS)
    np.testing.assert_allclose(logits[:, 1:-2], expected, atol=1e-5)
    some = np.where(np.arange(4) < [[4], [1], [0]], POSITIONS, -1)
    ragged = tf.RaggedTensor.from_tensor(POSITIONS, lengths=[4, 1, 0])
    np.testing.assert_array_equal(model(IDS, LENGTHS, SEGMENTS, ragged), model(IDS, LENGTHS, SEGMENTS, some))
    hidden = model.encoder(IDS, LENGTHS, SEGMENTS, positions=positions).numpy()
    assert not np.any(hidden[:, [0, -2, -1]])


def test_the_parts_compose(tiny_model: MaskedLM) -> None:
    texts = tiny_model.preprocessor(["the cat [MASK] on the [MASK]", "a [MASK] runs", "the cat"])
    assert -1 in texts.mask_positions.numpy()
    expected = tiny_model(texts.token_ids, texts.lengths, texts.segment_ids, texts.mask_positions)
    np.testing.assert_array_equal(tiny_model(texts), expected)
    np.testing.assert_array_equal(tiny_model(texts._asdict()), expected)
    assert not np.any(expected[2])
    rows = [row[:length] for row, length in zip(texts.token_ids.numpy(), texts.lengths.numpy(), strict=True)]
    ragged = tiny_model(tf.ragged.constant(rows), mask_positions=texts.mask_positions)
    np.testing.assert_allclose(ragged, expected, atol=1e-6)
    without = tiny_model(texts.token_ids, mask_positions=texts.mask_positions)
    np.testing.assert_allclose(without, expected, atol=1e-6)

    masker = MaskedLMMaskGenerator(
        tiny_model.config.vocab_size, 0.4, 4, unselectable_token_ids=(0, 2, 3), seed=0
    )
    masked = masker(texts, step=0)
    assert set(masked) == {
        "token_ids",
        "mask_positions",
        "mask_ids",
        "mask_weights",
        "lengths",
        "segment_ids",
    }
    logits = tiny_model(masked)
    padded = masked["mask_positions"].to_tensor(-1)
    np.testing.assert_allclose(
        logits, tiny_model(masked["token_ids"], texts.lengths, texts.segment_ids, padded), atol=1e-6
    )
    states = tiny_model.masked_states(masked)
    np.testing.assert_allclose(tiny_model.head.project(states)[0], logits[0], atol=1e-6)
    np.testing.assert_array_equal(
        tiny_model.encoder(texts), tiny_model.encoder(texts.token_ids, texts.lengths, texts.segment_ids)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_ids": IDS + 30}, r"`token_ids` must lie in \[0, 30\). Received: [3-5]\d\."),
        ({"segment_ids": SEGMENTS + 1}, r"`segment_ids` must lie in \[0, 2\). Received: 2\."),
        ({"lengths": LENGTHS + 1}, r"`lengths` must lie in \[0, number of columns.*Received: 10\."),
        ({"lengths": LENGTHS - 3}, r"`lengths` must lie in \[0, number of columns.*Received: -1\."),
        ({"mask_positions": POSITIONS + 9}, r"`mask_positions` must lie in \[0, length\) with length=9"),
        ({"mask_positions": POSITIONS * 0 - 2}, r"`mask_positions` must lie in.*Received: -2"),
    ],
    ids=range(6),
)
def test_values_out_of_range_are_an_error_eagerly_and_in_a_graph(change: dict, message: str) -> None:
    model = make()
    inputs = {"token_ids": IDS, "lengths": LENGTHS, "segment_ids": SEGMENTS, "mask_positions": POSITIONS}
    inputs = {name: tf.constant(value) for name, value in {**inputs, **change}.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model(**inputs)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.function(model)(**inputs)


def test_what_is_missing_is_named() -> None:
    model = make()
    with pytest.raises(ValueError, match=r"`mask_positions` must be integers.*Received: None"):
        model(IDS, LENGTHS)
    with pytest.raises(ValueError, match=r"must hold `token_ids`.*Received: the keys \['ids'\]"):
        model({"ids": IDS}, mask_positions=POSITIONS)
    other = MaskedLM(lambda *inputs: model.encoder(*inputs), model.head)
    with pytest.raises(ValueError, match=r"`lengths` must be given"):
        other(IDS, mask_positions=POSITIONS)
