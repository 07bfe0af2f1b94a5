"""The layers in Keras's models: trained, saved, loaded, exported, under policies and a strategy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference.keras_models import CONFIG, IDS, INPUTS, LENGTHS, POSITIONS, fit, functional

import tf_mlm
from tf_mlm.keras import Encoder, MaskedLMHead, MaskedLMMaskGenerator, ReversibleEmbedding

ROOT = Path(tf_mlm.__file__).parents[1]
# Three tables and a norm; per block four dense layers and two norms; the head without its table.
COUNT = 3 + 2 + CONFIG.num_hidden_layers * (4 * 2 + 2 * 2) + 5


def layer_of(model: keras.Model, kind: type) -> Any:
    [layer] = [layer for layer in model.layers if isinstance(layer, kind)]
    return layer


def predicted(model: keras.Model) -> np.ndarray:
    return model.predict(INPUTS, verbose=0)


def test_every_variable_is_a_weight_once_and_trained(trained: keras.Model) -> None:
    assert len(trained.weights) == len(trained.trainable_weights) == COUNT
    paths = [weight.path for weight in trained.weights]
    assert len(set(paths)) == COUNT
    assert any(path.endswith("/blocks.1.attention.query_key_value.kernel") for path in paths)
    fresh = functional()
    for path, weight, other in zip(paths, trained.weights, fresh.weights, strict=True):
        assert np.any(weight.numpy() != other.numpy()), f"{path} was not trained"
    module = layer_of(trained, Encoder).module
    assert {id(v) for v in module.variables} <= {id(w.value) for w in trained.weights}


def test_slots_that_are_not_used_are_zeros(trained: keras.Model) -> None:
    assert not np.any(predicted(trained)[POSITIONS < 0])
    assert np.all(np.any(predicted(trained)[POSITIONS >= 0], axis=-1))


@pytest.mark.parametrize("jit", [True, False])
def test_with_and_without_xla_it_trains_alike(trained: keras.Model, jit: bool) -> None:
    by_default = trained.history.history["loss"]
    np.testing.assert_allclose(fit(functional(), 2, jit), by_default[:2], rtol=1e-4)


def test_the_numbers_are_those_of_the_modules(trained: keras.Model) -> None:
    model = tf_mlm.MaskedLM(layer_of(trained, Encoder).module, layer_of(trained, MaskedLMHead).module)
    np.testing.assert_allclose(model(IDS, LENGTHS, mask_positions=POSITIONS), predicted(trained), atol=1e-5)
    assert model.head.token_embedding is model.encoder.embedding.token
    seeded = tf_mlm.BertEncoder(CONFIG, seed=0)
    layer = Encoder(CONFIG, seed=0)
    np.testing.assert_allclose(layer(IDS, LENGTHS), seeded(IDS, LENGTHS), atol=1e-6)


def test_keras_file(trained: keras.Model, tmp_path: Path) -> None:
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predicted(loaded), predicted(trained))
    assert layer_of(loaded, MaskedLMHead).token_embedding is layer_of(loaded, Encoder).token_embedding
    assert len(loaded.weights) == COUNT
    assert loaded.optimizer.iterations == trained.optimizer.iterations
    before = [weight.numpy() for weight in loaded.weights]
    fit(loaded, 1)
    assert all(np.any(old != new.numpy()) for old, new in zip(before, loaded.weights, strict=True))
    trained.save_weights(tmp_path / "model.weights.h5")
    other = functional()
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(predicted(other), predicted(trained))


def test_a_shared_table_that_is_a_layer_of_its_own_stays_shared(tmp_path: Path) -> None:
    embedding = ReversibleEmbedding(30, 8)
    ids, positions = keras.Input([6], dtype="int32"), keras.Input([2], dtype="int32")
    states = keras.layers.Dense(8)(embedding(ids))
    head = MaskedLMHead(token_embedding=embedding)
    model = keras.Model([ids, positions], head(states, positions))
    assert len(model.weights) == 1 + 2 + 5
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert layer_of(loaded, MaskedLMHead).token_embedding is layer_of(loaded, ReversibleEmbedding)
    assert len(loaded.weights) == 1 + 2 + 5
    inputs = [IDS[:, :6], POSITIONS[:, :2]]
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0))
    assert MaskedLMHead.from_config(head.get_config()).get_config() == head.get_config()


def test_a_file_is_read_by_a_program_that_has_only_imported_the_package(
    trained: keras.Model, tmp_path: Path
) -> None:
    trained.save(tmp_path / "model.keras")
    np.save(tmp_path / "wanted.npy", predicted(trained))
    program = (
        "import keras, numpy as np, tf_mlm.keras; from reference.keras_models import INPUTS;"
        "model = keras.models.load_model('model.keras');"
        "print(np.abs(model(INPUTS).numpy() - np.load('wanted.npy')).max())"
    )
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert float(process.stdout.split()[-1]) < 1e-6


def test_a_file_of_another_layer_is_refused(tmp_path: Path) -> None:
    one, other = (
        keras.Sequential([keras.Input([3], dtype="int32"), layer])
        for layer in (ReversibleEmbedding(30, 8), ReversibleEmbedding(30, 8, tie_weights=False))
    )
    one.save_weights(tmp_path / "one.weights.h5")
    with pytest.raises(ValueError, match=r"must find its 2 weights.*Missing: \['reverse_embeddings'\]"):
        other.load_weights(tmp_path / "one.weights.h5")


def test_exported_it_gives_the_same(trained: keras.Model, tmp_path: Path) -> None:
    trained.export(tmp_path / "export", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "export")
    np.testing.assert_allclose(loaded.serve(INPUTS), predicted(trained), atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "result", "tolerance"),
    [
        ("mixed_bfloat16", "float32", 0.1),
        ("mixed_float16", "float32", 0.02),
        ("bfloat16", "bfloat16", 0.2),
        ("float64", "float64", 1e-4),
        (keras.DTypePolicy("mixed_bfloat16"), "float32", 0.1),
    ],
    ids=str,
)
def test_dtype_policies(dtype: Any, result: str, tolerance: float, tmp_path: Path) -> None:
    model, plain = (functional(kind, num_hidden_layers=1) for kind in (dtype, None))
    assert model.output.dtype == result
    # Random numbers of another dtype are other numbers.
    plain.set_weights([weight.astype(np.float32) for weight in model.get_weights()])
    logits = np.asarray(tf.cast(model(INPUTS), tf.float32))
    np.testing.assert_allclose(logits, plain(INPUTS), atol=tolerance)
    assert fit(model, 2)[-1] == pytest.approx(fit(plain, 2)[-1], abs=0.1)
    assert {w.dtype for w in model.weights} == {"float32" if "mixed" in str(dtype) else result}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert layer_of(loaded, Encoder).dtype_policy.name == layer_of(model, Encoder).dtype_policy.name


def test_policies_without_floats_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"`dtype` must be a float dtype.*int8_from_float32"):
        MaskedLMHead(30, dtype="int8_from_float32")


class Subclass(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(CONFIG, seed=0)
        self.head = MaskedLMHead(token_embedding=self.encoder.token_embedding)

    def call(self, inputs: Any) -> Any:
        return self.head(self.encoder(inputs[0], inputs[1]), inputs[2])


def test_subclassed_models_train_alike(trained: keras.Model) -> None:
    first = trained.history.history["loss"][0]
    head_kernel = functional().layers[-1].module.intermediate_dense.kernel
    eager, symbolic = Subclass(), Subclass()
    inputs = [keras.Input(shape, dtype="int32") for shape in ((12,), (), (3,))]
    symbolic(inputs)  # makes the weights in Keras's own time
    for model in (eager, symbolic):
        model(INPUTS)
        assert len(model.weights) == COUNT
        model.head.module.intermediate_dense.kernel.assign(head_kernel)
        assert fit(model, 2)[-1] < first


def test_sequential_models_take_ids_alone() -> None:
    model = keras.Sequential([Encoder(CONFIG, seed=0), keras.layers.Dense(3)])
    assert model(IDS).shape == (16, 12, 3)
    alone = Encoder(CONFIG, seed=0)
    np.testing.assert_allclose(alone(IDS), alone(IDS, LENGTHS), atol=1e-6)
    np.testing.assert_allclose(alone(IDS.astype(np.float32)), alone(IDS, LENGTHS[:, None]), atol=1e-6)
    given = {"token_ids": IDS, "lengths": LENGTHS}
    np.testing.assert_allclose(alone(given), alone(IDS, LENGTHS), atol=1e-6)
    some = alone(IDS, LENGTHS, positions=POSITIONS)
    assert some.shape == (16, 3, 8)
    assert not np.any(some.numpy()[POSITIONS < 0])


def test_float_ids_survive_half_precision() -> None:
    embedding = ReversibleEmbedding(1000, 4, dtype="mixed_bfloat16")
    ids = np.array([[513, 999]])  # which bfloat16 cannot hold
    np.testing.assert_array_equal(
        tf.cast(embedding(ids.astype(np.float32)), tf.float32), tf.cast(embedding(ids), tf.float32)
    )


def test_frozen_layers_stay_as_they_are() -> None:
    model = functional()
    layer_of(model, Encoder).trainable = False
    assert len(model.trainable_weights) == 5
    before = {weight.path: weight.numpy() for weight in model.weights}
    fit(model, 1)
    changed = {weight.path for weight in model.weights if np.any(before[weight.path] != weight.numpy())}
    assert changed == {weight.path for weight in layer_of(model, MaskedLMHead).weights[:5]}
    assert MaskedLMHead(30, trainable=False).trainable_variables == []
    frozen = MaskedLMHead(30, trainable=False)
    frozen(tf.ones([1, 2, 4]), tf.constant([[0]]))
    assert (len(frozen.weights), len(frozen.trainable_weights)) == (6, 0)


def test_dropout_acts_in_training_only() -> None:
    encoder = Encoder(CONFIG.__class__(**{**CONFIG.__dict__, "hidden_dropout_prob": 0.5}), seed=3)
    np.testing.assert_array_equal(encoder(IDS, LENGTHS), encoder(IDS, LENGTHS))
    drawn = [encoder(IDS, LENGTHS, training=True).numpy() for _ in range(2)]
    assert np.any(drawn[0] != drawn[1])
    assert fit(functional(hidden_dropout_prob=0.1, num_hidden_layers=1), 1, jit=True)


def test_from_and_to_modules() -> None:
    model = tf_mlm.MaskedLM.from_config(CONFIG, seed=5)
    encoder = Encoder.from_module(model.encoder)
    head = MaskedLMHead.from_module(model.head, encoder.token_embedding)
    np.testing.assert_allclose(
        head(encoder(IDS, LENGTHS), POSITIONS), model(IDS, LENGTHS, mask_positions=POSITIONS), atol=1e-5
    )
    again = tf_mlm.MaskedLMHead.from_keras(head)
    np.testing.assert_array_equal(again.output_bias, model.head.output_bias)
    np.testing.assert_array_equal(again.intermediate_dense.kernel, model.head.intermediate_dense.kernel)
    alone = MaskedLMHead.from_module(tf_mlm.MaskedLMHead(11, hidden_dim=4))
    assert len(alone.weights) == 6
    with pytest.raises(ValueError, match="Received: a head without `hidden_dim`"):
        MaskedLMHead.from_module(tf_mlm.MaskedLMHead(11))
    with pytest.raises(ValueError, match="has no variables yet"):
        _ = MaskedLMHead(11).module


def test_specs_are_what_comes_out() -> None:
    head = MaskedLMHead(30, dtype="mixed_bfloat16")
    spec = head(keras.Input([12, 8]), keras.Input([3], dtype="int32"))
    assert (spec.shape, spec.dtype) == ((None, 3, 30), "float32")
    assert head.compute_output_shape((2, 12, 8), (2, 3)) == (2, 3, 30)
    embedding = ReversibleEmbedding(30, 8, reverse_dtype="float32", dtype="bfloat16")
    for inputs, reverse in ((keras.Input([12], dtype="int32"), False), (keras.Input([12, 8]), True)):
        spec = embedding(inputs, reverse=reverse)
        real = embedding(tf.zeros([2, *inputs.shape[1:]], inputs.dtype), reverse=reverse)
        assert (spec.shape[1:], spec.dtype) == (tuple(real.shape[1:]), real.dtype.name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MaskedLMHead(), "One of `vocabulary_size` or `token_embedding` must be set"),
        (lambda: MaskedLMHead(3, ReversibleEmbedding(4, 2)), "must match the input dimension"),
        (lambda: MaskedLMHead(token_embedding=tf_mlm.ReversibleEmbedding(4, 2)), "must be a Keras layer"),
        (lambda: MaskedLMHead(3, "table"), "must be a Keras layer"),
        (lambda: MaskedLMHead(3, intermediate_activation="gelou"), "An activation must be"),
        (lambda: ReversibleEmbedding(0, 3), "must be at least 1"),
        (lambda: Encoder(CONFIG, ReversibleEmbedding(4, 2)), r"sizes that the config states, \(30, 8\)"),
        (lambda: Encoder(CONFIG, 7), "must be a tf_mlm.keras.ReversibleEmbedding"),
        (lambda: Encoder(CONFIG)(keras.Input([40], dtype="int32")), "positions for 32 tokens"),
        (
            lambda: Encoder(CONFIG)(keras.Input([4, 4], dtype="int32")),
            "`token_ids` must be integers of shape",
        ),
        (
            lambda: MaskedLMHead(3)(keras.Input([4, 4]), keras.Input([2])),
            "`mask_positions` must be integers of shape",
        ),
        (
            lambda: MaskedLMHead(3)(keras.Input([4]), keras.Input([2], dtype="int32")),
            "`inputs` must be floating point of shape",
        ),
        (
            lambda: MaskedLMHead(3)(keras.Input([4, None]), keras.Input([2], dtype="int32")),
            "last axis of `inputs` must be known",
        ),
        (lambda: MaskedLMMaskGenerator(30, 2.0, 4), r"`mask_selection_rate` must lie in \[0, 1\]"),
        (
            lambda: MaskedLMMaskGenerator(30, 0.5, 4)(keras.Input([4], dtype="int32")),
            "give `mask_selection_length`",
        ),
        (lambda: MaskedLMMaskGenerator(30, 0.5, 4, 2)(keras.Input([4])), "`inputs` must be token ids"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_two_replicas_train_as_one_device() -> None:
    """In a process of its own, as TensorFlow splits a processor only before its first use."""
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    process = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    mirrored, alone = json.loads(process.stdout.splitlines()[-1])
    np.testing.assert_allclose(mirrored, alone, rtol=1e-4)


def main() -> None:
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    with strategy.scope():
        model = functional(num_hidden_layers=1)
    losses = []
    alone = functional(num_hidden_layers=1)
    for weight, value in zip(alone.weights, model.get_weights(), strict=True):
        weight.assign(value)
    with strategy.scope():
        losses.append(fit(model, 2))
    losses.append(fit(alone, 2))
    print(json.dumps(losses))


if __name__ == "__main__":
    main()
