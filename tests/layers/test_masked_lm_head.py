"""The head's rules: sizes, positions, configs. `test_conformance` and `parity` compare its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding

STATES = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)


@pytest.fixture
def head() -> MaskedLMHead:
    return MaskedLMHead(11, hidden_dim=8)


def test_sizes_follow_the_embedding() -> None:
    head = MaskedLMHead(token_embedding=ReversibleEmbedding(11, 4), hidden_dim=8)
    assert head.vocabulary_size == 11
    assert head.intermediate_dense.kernel.shape == [4, 8]
    assert head.output_kernel is None
    assert head.output_table.shape == [11, 4]
    assert head.compute_output_shape([2, 5, 8], [2, 3]) == (2, 3, 11)


def test_without_hidden_dim_the_first_call_makes_the_variables() -> None:
    head = MaskedLMHead(11)
    assert len(head.variables) == 1  # the output bias needs no hidden size

    @tf.function
    def call(states: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        return head(states, positions)

    inside = call(STATES, [[1], [2]])
    assert head.hidden_dim == 8
    assert len(head.variables) == 6
    np.testing.assert_allclose(head(STATES, [[1], [2]]), inside, atol=1e-6)


def test_frozen_head_has_nothing_to_train() -> None:
    head = MaskedLMHead(11, hidden_dim=8, trainable=False)
    assert len(head.variables) == 6
    assert head.trainable_variables == ()


def test_a_frozen_head_leaves_a_shared_table_to_its_owner() -> None:
    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = ReversibleEmbedding(11, 8)
            self.head = MaskedLMHead(token_embedding=self.embedding, hidden_dim=8, trainable=False)

    model = Model()
    assert model.head.trainable_variables == ()
    assert [variable.name for variable in model.trainable_variables] == ["embeddings:0"]


def test_positions_are_gathered_with_repeats_in_their_order(head: MaskedLMHead) -> None:
    every = head(STATES, [[0, 1, 2, 3, 4]] * 2).numpy()
    some = head(STATES, tf.constant([[3, 3, 0], [1, 4, 4]], tf.int64)).numpy()
    np.testing.assert_allclose(some[0], every[0, [3, 3, 0]], atol=1e-6)
    np.testing.assert_allclose(some[1], every[1, [1, 4, 4]], atol=1e-6)


def test_no_masks_at_all_are_no_rows(head: MaskedLMHead) -> None:
    assert head(STATES, tf.zeros([2, 0], tf.int32)).shape == (2, 0, 11)
    assert head(STATES, [[], []]).shape == (2, 0, 11)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int32", "int64"])
def test_positions_of_any_integer_type(head: MaskedLMHead, dtype: str) -> None:
    positions = np.array([[1, 4], [0, 3]])
    np.testing.assert_array_equal(head(STATES, positions.astype(dtype)), head(STATES, positions))


def test_mixed_precision_returns_float32_logits() -> None:
    head = MaskedLMHead(11, hidden_dim=8, dtype="mixed_bfloat16")
    assert head(STATES, [[0], [1]]).dtype == tf.float32
    assert head.transform(STATES).dtype == tf.bfloat16
    assert MaskedLMHead(11, hidden_dim=8, dtype="bfloat16")(STATES, [[0], [1]]).dtype == tf.bfloat16


@pytest.mark.parametrize("position", [5, -2, 1000])
def test_positions_out_of_range_are_an_error_eagerly_and_in_a_graph(
    head: MaskedLMHead, position: int
) -> None:
    positions = [[0, 1], [2, position]]
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"length=5, or be -1.*Received: {position}\."):
        head(STATES, positions)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"indices.*is not in \[0, 5\)|out of bound"):
        tf.function(head)(STATES, tf.constant(positions))


@pytest.mark.parametrize(("position", "clamped"), [(5, 4), (1000, 4), (-2, 0), (-9, 0)])
def test_xla_clamps_positions_as_documented(head: MaskedLMHead, position: int, clamped: int) -> None:
    call = tf.function(head, jit_compile=True)
    out = call(STATES, tf.constant([[0], [position]]))
    np.testing.assert_allclose(out, head(STATES, [[0], [clamped]]), atol=1e-5)


RUNS = {
    "eager": lambda call: call,
    "graph": tf.function,
    "xla": lambda call: tf.function(call, jit_compile=True),
}


@pytest.mark.parametrize(
    ("dtype", "activation", "run"),
    [
        *[
            (dtype, activation, "eager")
            for dtype in ("float32", "mixed_bfloat16")
            for activation in (None, "softmax")
        ],
        ("float32", "softmax", "graph"),
        ("mixed_bfloat16", None, "graph"),
        ("float32", None, "xla"),
        ("mixed_bfloat16", "softmax", "xla"),
        pytest.param("float32", None, "graph", marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", "softmax", "graph", marks=pytest.mark.slow),
        pytest.param("float32", "softmax", "xla", marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", None, "xla", marks=pytest.mark.slow),
    ],
)
def test_an_unused_slot_is_a_row_of_zeros_that_trains_nothing(
    run: str, activation: str | None, dtype: str
) -> None:
    head = MaskedLMHead(11, hidden_dim=8, activation=activation, dtype=dtype)
    head.output_bias.assign(tf.range(11.0))

    def call(states: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(states)
            outputs = head(states, positions)
            loss = tf.reduce_sum(outputs * tf.range(11, dtype=outputs.dtype) ** 2)
        return outputs, tape.gradient(loss, [states, *head.trainable_variables])

    padded, with_padding = RUNS[run](call)(tf.constant(STATES), tf.constant([[3, -1, 1], [-1, -1, 4]]))
    alone, without = RUNS[run](call)(tf.constant(STATES), tf.constant([[3, 1], [4, 4]]))
    tolerance = 2e-2 if dtype == "mixed_bfloat16" else 1e-5
    np.testing.assert_array_equal(padded.numpy()[[0, 1, 1], [1, 0, 1]], 0)
    np.testing.assert_allclose(
        padded.numpy()[[0, 0, 1], [0, 2, 2]], alone.numpy()[[0, 0, 1], [0, 1, 0]], tolerance
    )
    ours, theirs = (tf.convert_to_tensor(gradients[0]).numpy() for gradients in (with_padding, without))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours[1], theirs[1] / 2, rtol=tolerance, atol=tolerance)
    nothing = RUNS[run](call)(tf.constant(STATES), tf.constant([[-1], [-1]]))[1]
    assert all(not np.any(tf.convert_to_tensor(gradient)) for gradient in nothing)


@pytest.mark.parametrize("run", RUNS)
def test_ragged_positions_are_read_as_padded(head: MaskedLMHead, run: str) -> None:
    ragged = tf.ragged.constant([[3, 1], [4]])
    outputs = RUNS[run](head)(tf.constant(STATES), ragged.to_tensor(-1) if run == "xla" else ragged)
    np.testing.assert_allclose(outputs[0], head(STATES[:1], [[3, 1]])[0], atol=1e-5)
    np.testing.assert_allclose(outputs[1, 0], head(STATES[1:], [[4]])[0, 0], atol=1e-5)
    assert not np.any(outputs[1, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"One of `vocabulary_size` or `token_embedding` must be set. Received: `vocabulary_size=None`"),
        (
            {"vocabulary_size": 5, "token_embedding": ReversibleEmbedding(11, 4)},
            r"must match the input dimension.*`vocabulary_size=5`, `token_embedding.input_dim=11`",
        ),
        ({"vocabulary_size": 0}, r"`vocabulary_size` must be at least 1. Received: vocabulary_size=0"),
        ({"vocabulary_size": 5, "hidden_dim": 0}, r"`hidden_dim` must be at least 1. Received: hidden_dim=0"),
        (
            {"vocabulary_size": 5, "layer_norm_epsilon": 0},
            r"must be positive. Received: layer_norm_epsilon=0",
        ),
        ({"vocabulary_size": 5, "dtype": "int32"}, r"`dtype` must be a float dtype.*dtype='int32'"),
        ({"token_embedding": "table"}, r"must be a tf_mlm.ReversibleEmbedding.*of type str"),
        ({"vocabulary_size": 5, "intermediate_activation": "gelou"}, r"name that Keras.*Received: 'gelou'"),
    ],
    ids=range(8),
)
def test_contradictory_arguments_are_refused_at_construction(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedLMHead(**arguments)


@pytest.mark.parametrize(
    ("inputs", "positions", "message"),
    [
        (STATES[0], [[0]], r"`inputs` must be floating point of shape \[batch, length, hidden\].*\(5, 8\)"),
        (STATES.astype(np.int32), [[0], [0]], r"`inputs` must be floating point.*int32"),
        (STATES, [0, 1], r"`mask_positions` must be integers of shape \[batch, masks\].*\(2,\)"),
        (STATES, [[0.0], [1.0]], r"`mask_positions` must be integers.*float32|type list"),
        (STATES[..., :4], [[0], [1]], r"equal the hidden size.*hidden_dim=8"),
        (STATES, [[0]], r"same batch size.*inputs.shape=\(2, 5, 8\), mask_positions.shape=\(1, 1\)"),
    ],
    ids=range(6),
)
def test_shapes_that_do_not_fit_are_refused_at_the_call(
    head: MaskedLMHead, inputs: object, positions: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        head(inputs, positions)


def test_a_hidden_axis_of_unknown_size_asks_for_hidden_dim() -> None:
    head = MaskedLMHead(11)
    call = tf.function(lambda x: head(x, [[0], [0]]), input_signature=[tf.TensorSpec([None, None, None])])
    with pytest.raises(ValueError, match=r"Pass `hidden_dim` to the constructor"):
        call(STATES)


@pytest.mark.parametrize("tied", [True, False])
def test_a_config_describes_the_head(tied: bool) -> None:
    head = MaskedLMHead(
        None if tied else 11,
        ReversibleEmbedding(11, 4, logit_soft_cap=3.0) if tied else None,
        "gelu_new",
        "softmax",
        layer_norm_epsilon=1e-3,
        kernel_initializer="he_normal",
        name="my_head",
        dtype="mixed_bfloat16",
        hidden_dim=8,
    )
    copy = MaskedLMHead.from_config(head.get_config())
    copy(STATES, [[0], [1]])
    assert copy.get_config() == head.get_config()
    assert [variable.shape for variable in copy.variables] == [variable.shape for variable in head.variables]
    assert copy.intermediate_activation is head.intermediate_activation
    assert tf.reduce_sum(copy(STATES, [[0], [1]])[0, 0]).numpy() == pytest.approx(1, abs=1e-5)


def test_gradients_reach_the_tied_table_from_both_uses() -> None:
    embedding = ReversibleEmbedding(11, 8)
    head = MaskedLMHead(token_embedding=embedding, hidden_dim=8)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(embedding(tf.constant([[1, 2, 3]])), [[1]]) ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, embedding.embeddings))
    assert np.all(np.abs(gradient.numpy()).sum(-1) > 0)  # every row is an output; row 2 is also an input
