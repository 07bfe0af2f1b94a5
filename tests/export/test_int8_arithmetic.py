"""An export that multiplies in int8: what is in it, what it answers, and where there is no oneDNN."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from export.stock import NAMES, PORTABLE, SMALL, assert_close, stock_session
from tensorflow.core.protobuf import saved_model_pb2

from tf_mlm import signatures
from tf_mlm.cli.inspect import _needs
from tf_mlm.errors import ExportMismatchError
from tf_mlm.export import quantization
from tf_mlm.export.quantization import compare, quantize
from tf_mlm.export.reload_check import check_reloaded
from tf_mlm.export.saved_model import export, read_description
from tf_mlm.layers.int8_product import OPERATION, is_built_with_int8_product
from tf_mlm.layers.int8_weight import Int8Weight
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference

pytestmark = pytest.mark.skipif(
    not is_built_with_int8_product(), reason="this build of TensorFlow has no oneDNN"
)


@pytest.fixture(scope="module")
def quantized(tiny_model: MaskedLM) -> MaskedLM:
    return quantize(tiny_model)


@pytest.fixture(scope="module")
def int8_export(quantized: MaskedLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(quantized, tmp_path_factory.mktemp("int8"), arithmetic="int8", buckets=SMALL, top_k=5)


def test_it_says_what_it_is_and_what_it_needs(int8_export: Path) -> None:
    description = read_description(int8_export)
    assert (description["arithmetic"], description["xla"], description["programs"]) == ("int8", False, 0)
    assert description["signatures"] == sorted([*NAMES, *PORTABLE])
    assert description["operations"][OPERATION] > 0
    assert "needs a stock server for x86" in _needs(description)
    assert "`_portable`" in _needs(description)
    assert "`_portable`" not in _needs({**description, "signatures": NAMES})


@pytest.fixture(scope="module")
def answers(int8_export: Path) -> dict[str, Any]:
    """Of a stock server that refuses XLA, by signature and twin, graphs as they were written."""
    found = stock_session(int8_export, disable_xla=True, signatures=[*NAMES, *PORTABLE])
    assert found["errors"] == {}
    return found["answers"]


def test_a_stock_server_without_xla_answers_in_int8(answers: dict[str, Any]) -> None:
    for name in NAMES:
        ours, floats = answers[name], answers[name + signatures.PORTABLE]
        if name == signatures.TOKENIZE.name:
            assert_close(ours, floats)
            continue
        for alias, value in ours.items():
            if np.asarray(value).dtype.kind == "f" and alias != "scores":
                one, other = np.array(value), np.array(floats[alias])
                assert 0 < np.abs(one - other).max() < 0.1 * np.abs(other).max()


def test_a_stock_server_may_rewrite_the_graphs(int8_export: Path, answers: dict[str, Any]) -> None:
    names = [signatures.PREDICT_MASKED.name, signatures.ENCODE.name]
    rewritten = stock_session(int8_export, rewrite=True, warmup=True, signatures=names)
    assert rewritten["errors"] == {}
    for name in names:
        for alias, value in rewritten["answers"][name].items():
            # Sums of floats in another order may round a number to the next level.
            np.testing.assert_allclose(value, answers[name][alias], atol=0.05)


def test_every_dense_layer_and_the_vocabulary_are_multiplied_in_integers(
    quantized: MaskedLM, int8_export: Path
) -> None:
    saved = saved_model_pb2.SavedModel.FromString((int8_export / "saved_model.pb").read_bytes())
    programs = {
        function.signature.name: sum(node.op == OPERATION for node in function.node_def)
        for function in saved.meta_graphs[0].graph_def.library.function
    }
    weights = sum(isinstance(module, Int8Weight) for module in quantized.submodules)
    states = max(count for name, count in programs.items() if "states" in name)
    top = max(count for name, count in programs.items() if "_top_" in name)
    assert states + top == weights + 2 * 2  # in each of the two, two that ask what the processor does


def test_where_there_is_no_onednn_the_load_fails_by_name_and_twins_answer(
    int8_export: Path, answers: dict[str, Any], tmp_path: Path
) -> None:
    """Such a build does not know the operation; here it is given a name that no build knows."""
    directory = tmp_path / "1"
    shutil.copytree(int8_export, directory)
    file = directory / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == OPERATION:
                node.op = "_NoSuchOperation"
    file.write_bytes(saved.SerializeToString())
    found = stock_session(directory, disable_xla=True, signatures=[*NAMES, *PORTABLE])
    numeric = {name for name in NAMES if name != signatures.TOKENIZE.name}
    assert set(found["errors"]) == numeric
    assert all("_NoSuchOperation" in message for message in found["errors"].values())
    for name in PORTABLE:
        assert_close(found["answers"][name], answers[name])


def test_without_xla_there_are_no_twins_and_the_reload_check_finds_another_model(
    quantized: MaskedLM, tiny_model: MaskedLM, tmp_path: Path
) -> None:
    path = export(quantized, tmp_path, arithmetic="int8", xla=False, buckets=SMALL, top_k=5)
    assert read_description(path)["signatures"] == sorted(NAMES)
    other = quantize(MaskedLM.from_config(tiny_model.config, seed=99, preprocessor=tiny_model.preprocessor))
    with pytest.raises(ExportMismatchError, match="must answer as the model does"):
        check_reloaded(other, path, "int8")


def test_the_report_is_of_the_arithmetic_that_is_exported(tiny_model: MaskedLM, quantized: MaskedLM) -> None:
    chance = np.random.default_rng(0)
    batch = (
        tf.constant(chance.integers(5, 21, [16, 12]), tf.int32),
        tf.fill([16], 12),
        tf.constant(chance.integers(1, 5, [16, 3]), tf.int32),
        tf.constant(chance.integers(5, 21, [16, 3]), tf.int32),
        tf.ones([16, 3]),
    )
    floats, integers = (compare(tiny_model, quantized, [batch], how) for how in ("float", "int8"))
    assert floats.float_loss == integers.float_loss
    assert floats.loss != integers.loss
    assert floats.kl < integers.kl < 0.05
    assert integers.top_1_agreement > 0.9


def test_what_cannot_be_is_refused(
    tiny_model: MaskedLM, quantized: MaskedLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="int8 arithmetic needs int8 weights"):
        export(tiny_model, tmp_path, arithmetic="int8")
    with pytest.raises(ValueError, match="`arithmetic` must be one of float, int8"):
        export(quantized, tmp_path, arithmetic="int4")
    with pytest.raises(ValueError, match="go without XLA"):
        Inference(quantized, arithmetic="int8", xla=True)
    monkeypatch.setattr(quantization, "is_built_with_int8_product", lambda: False)
    with pytest.raises(ValueError, match="needs oneDNN's _QuantizedMatMul"):
        export(quantized, tmp_path, arithmetic="int8")
    assert not list(tmp_path.iterdir())
