"""Every family trained, resumed, evaluated and compiled."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from click.testing import CliRunner
from reference.families import Family, asked_of
from reference.short_run import SHORT_RUN

import tf_mlm
from tf_mlm.cli import group
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.preemption import Preemption
from tf_mlm.training.run.trainer import train

NOT_TRAINED = {"esm": 3, "roformer": 1, "fnet": 2}
"""How many variables a family keeps as they are: frequencies, angles, heads for other tasks."""

# The encoders of the others are among these, and their tokenizers.
QUICK = ("albert", "deberta-v3", "esm", "fnet", "mmbert", "mpnet", "roformer", "roformer_v2")


@pytest.fixture(scope="module", params=asked_of(*QUICK))
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


# Rows of rotary positions are packed, and ESM has weights that stay as they are.
@pytest.mark.parametrize("family", asked_of("esm"), indirect=True, scope="module")
@pytest.mark.usefixtures("interpreted")
def test_a_resumed_run_ends_with_the_same_bits(
    directory: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str) -> int:
        return train([corpus], tmp_path / name, SHORT_RUN, from_directory=directory).steps

    assert run("whole") == 6
    asked: list[bool] = []
    with monkeypatch.context() as patch:
        patch.setattr(Preemption, "requested", lambda self: asked.append(True) or len(asked) > 1)
        assert 0 < run("parts") < 6
    assert run("parts") == 6
    one, other = (
        safetensors.numpy.load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts")
    )
    before = safetensors.numpy.load_file(directory / "model.safetensors")
    assert one.keys() == other.keys() == before.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert any(np.abs(one[name] - value).max() > 0 for name, value in before.items())


def test_every_weight_that_is_one_has_a_gradient(family: Family, model: tf_mlm.MaskedLM) -> None:
    assert model.preprocessor is not None
    inputs = model.preprocessor(family.masked[:1])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(inputs, dropout_seed=tf.constant([1, 2])) ** 2)
    weights = model.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        assert gradient is not None, weight.name
    assert len(model.variables) - len(weights) == NOT_TRAINED.get(family.name, 0)


def test_xla_and_the_texts_beside_it_change_no_answer(family: Family, model: tf_mlm.MaskedLM) -> None:
    assert model.preprocessor is not None
    inputs = model.preprocessor([family.masked[0], f"{family.mask} {family.text[:4]}"])
    both = model(inputs)
    alone = model(model.preprocessor(f"{family.mask} {family.text[:4]}"))
    np.testing.assert_allclose(both[1:], alone, atol=1e-5)
    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    compiled = tf.function(model, input_signature=[*specs, specs[0], specs[0]], jit_compile=True)
    ids, segments = (tf.pad(tensor, [[0, 0], [0, 3]]) for tensor in (inputs.token_ids, inputs.segment_ids))
    np.testing.assert_allclose(
        compiled(ids, inputs.lengths, segments, inputs.mask_positions), both, atol=1e-5
    )


@pytest.mark.parametrize("family", asked_of("fnet"), indirect=True, scope="module")
@pytest.mark.usefixtures("interpreted")
def test_it_is_evaluated_alike_in_python_and_on_the_command_line(directory: Path, corpus: Path) -> None:
    found = tf_mlm.evaluate(directory, corpus, TrainConfig(length=24, batch_size=32, evaluation_rows=16))
    assert found.masks > 0
    options = ("--length", "24", "--rows", "16", "--json")
    done = CliRunner().invoke(group, ["evaluate", str(directory), str(corpus), *options])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert {name: shown[name] for name in dataclasses.asdict(found)} == dataclasses.asdict(found)


@pytest.mark.parametrize("family", asked_of("esm"), indirect=True, scope="module")
def test_a_pseudo_log_likelihood_counts_every_token_once(family: Family, model: tf_mlm.MaskedLM) -> None:
    assert model.preprocessor is not None
    text = " ".join([family.text] * 3)
    outputs = tf_mlm.FillMask(model).inference.pseudo_log_likelihood(tf.constant([text]))
    whole = tf_mlm.TextPreprocessor(model.preprocessor.vocabulary, None)(text)
    assert int(outputs["scored_tokens"][0]) == int(whole.lengths[0]) - 2 > model.config.max_length


@pytest.mark.peers
@pytest.mark.slow
def test_a_tpu_runs_the_training_step_and_the_answer(model: tf_mlm.MaskedLM) -> None:
    from benchmarks.tpu_compiler import TpuCompiler

    compiler = TpuCompiler("v5e")
    for program in (compiler.train, compiler.serve):
        found = program(model.config, batch=8, length=24)
        assert found.compiles, found.error
        assert found.fits
