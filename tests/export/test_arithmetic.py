"""An export that multiplies in int8 or bfloat16: what is in it, what it answers, and where it cannot be."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from reference.platforms import needs_onednn
from tensorflow.core.protobuf import saved_model_pb2

from export.stock import NAMES, PORTABLE, SMALL, StockSession, assert_close
from tf_mlm import signatures
from tf_mlm.cli.inspect import needs
from tf_mlm.errors import ExportMismatchError, SlowProcessorWarning
from tf_mlm.export import processor, quantization
from tf_mlm.export.accuracy import compare
from tf_mlm.export.description import read_description
from tf_mlm.export.quantization import check_arithmetic, quantize, to_bfloat16
from tf_mlm.export.reload_check import check_reloaded
from tf_mlm.export.saved_model import export
from tf_mlm.layers.compact_weight import CompactWeight
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.int8_product import OPERATION
from tf_mlm.layers.onednn import SCORES
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference

ROUND = {"int8": quantize, "bfloat16": to_bfloat16}
only_int8 = pytest.mark.parametrize("arithmetic", [pytest.param("int8", marks=needs_onednn)], scope="module")


@pytest.fixture(scope="module", params=[pytest.param("int8", marks=needs_onednn), "bfloat16"])
def arithmetic(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def rounded(arithmetic: str, tiny_model: MaskedLM) -> MaskedLM:
    return ROUND[arithmetic](tiny_model)


@pytest.fixture(scope="module")
def exported(rounded: MaskedLM, arithmetic: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base_path = tmp_path_factory.mktemp(arithmetic)
    accuracy = {"kl": 0.5}
    return export(rounded, base_path, arithmetic=arithmetic, buckets=SMALL, top_k=5, accuracy=accuracy)


def test_it_says_what_it_is_and_what_it_needs(exported: Path, arithmetic: str) -> None:
    description = read_description(exported)
    found = [description[key] for key in ("arithmetic", "weights", "xla", "programs")]
    assert found == [arithmetic, arithmetic, False, 0]
    assert description["quantization"] == ("int8" if arithmetic == "int8" else None)
    assert description["accuracy"] == {"kl": 0.5}
    assert description["signatures"] == sorted([*NAMES, *PORTABLE])
    assert (OPERATION in description["operations"]) == (arithmetic == "int8")
    assert (SCORES in description["operations"]) == (arithmetic == "int8")
    need = {"int8": "needs a stock server for x86", "bfloat16": "without avx512_bf16 or amx_bf16"}
    assert need[arithmetic] in needs(description)
    assert "`_portable`" in needs(description)
    assert "`_portable`" not in needs({**description, "signatures": NAMES})


def test_matrices_are_saved_small_and_once(exported: Path, tiny_model: MaskedLM, arithmetic: str) -> None:
    saved = tf.train.load_checkpoint(str(exported / "variables" / "variables"))
    sizes = saved.get_variable_to_shape_map()
    matrices = sorted(math.prod(sizes[name]) for name in sizes if "/values/" in name)
    kernels = [module.kernel for module in tiny_model.submodules if isinstance(module, Dense)]
    whole = [*kernels, tiny_model.head.token_embedding.embeddings]
    assert matrices == sorted(math.prod(weight.shape) for weight in whole)
    types = {saved.get_variable_to_dtype_map()[name] for name in sizes if "/values/" in name}
    assert types == {tf.as_dtype(arithmetic)}


@pytest.fixture(scope="module")
def answers(exported: Path, server_without_xla: StockSession) -> dict[str, Any]:
    """Of a stock server that refuses XLA, by signature and twin, graphs as they were written."""
    found = server_without_xla(exported, signatures=[*NAMES, *PORTABLE])
    assert found["errors"] == {}
    return found["answers"]


def test_a_stock_server_without_xla_answers_with_what_is_stored(answers: dict[str, Any]) -> None:
    for name in NAMES:
        ours, floats = answers[name], answers[name + signatures.PORTABLE]
        if name == signatures.TOKENIZE.name:
            assert_close(ours, floats)
            continue
        for alias, value in ours.items():
            if np.asarray(value).dtype.kind == "f" and alias != "scores":
                one, other = np.array(value), np.array(floats[alias])
                assert 0 < np.abs(one - other).max() < 0.1 * np.abs(other).max()


@only_int8
def test_a_stock_server_may_rewrite_the_graphs(
    exported: Path, answers: dict[str, Any], stock_server: StockSession
) -> None:
    names = [signatures.PREDICT_MASKED.name, signatures.ENCODE.name]
    rewritten = stock_server(exported, rewrite=True, signatures=names)
    assert rewritten["errors"] == {}
    for name in names:
        for alias, value in rewritten["answers"][name].items():
            # Sums of floats in another order may round a number to the next level.
            np.testing.assert_allclose(value, answers[name][alias], atol=0.05)


def test_every_dense_layer_and_the_vocabulary_are_multiplied_as_they_are_stored(
    rounded: MaskedLM, exported: Path, arithmetic: str
) -> None:
    saved = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())

    def is_product(node: Any) -> bool:
        if arithmetic == "int8":
            return node.op == OPERATION
        return node.op == "MatMul" and node.attr["T"].type == tf.bfloat16.as_datatype_enum

    programs = {
        function.signature.name: sum(map(is_product, function.node_def))
        for function in saved.meta_graphs[0].graph_def.library.function
    }
    weights = sum(isinstance(module, CompactWeight) for module in rounded.submodules)
    states = max(count for name, count in programs.items() if "states" in name)
    top = max(count for name, count in programs.items() if "_top_" in name)
    probes = 2 * 2 if arithmetic == "int8" else 0  # in each of the two, two that ask what the processor does
    assert states + top == weights + probes


@only_int8
def test_where_there_is_no_onednn_the_load_fails_by_name_and_twins_answer(
    exported: Path, answers: dict[str, Any], tmp_path: Path, server_without_xla: StockSession
) -> None:
    """Such a build does not know the operations; here they are given a name that no build knows."""
    directory = tmp_path / "1"
    shutil.copytree(exported, directory)
    file = directory / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op in (OPERATION, SCORES):
                node.op = "_NoSuchOperation"
    file.write_bytes(saved.SerializeToString())
    found = server_without_xla(directory, signatures=[*NAMES, *PORTABLE])
    numeric = {name for name in NAMES if name != signatures.TOKENIZE.name}
    assert set(found["errors"]) == numeric
    assert all("_NoSuchOperation" in message for message in found["errors"].values())
    for name in PORTABLE:
        assert_close(found["answers"][name], answers[name])


def test_the_reload_check_finds_another_model(exported: Path, arithmetic: str, tiny_model: MaskedLM) -> None:
    other = MaskedLM.from_config(tiny_model.config, seed=99, preprocessor=tiny_model.preprocessor)
    with pytest.raises(ExportMismatchError, match="must answer as the model does"):
        check_reloaded(ROUND[arithmetic](other), exported, arithmetic)


def test_the_report_is_of_the_arithmetic_that_is_exported(
    tiny_model: MaskedLM, rounded: MaskedLM, arithmetic: str
) -> None:
    chance = np.random.default_rng(0)
    batch = (
        tf.constant(chance.integers(5, 21, [16, 12]), tf.int32),
        tf.fill([16], 12),
        tf.constant(chance.integers(1, 5, [16, 3]), tf.int32),
        tf.constant(chance.integers(5, 21, [16, 3]), tf.int32),
        tf.ones([16, 3]),
    )
    floats, products = (compare(tiny_model, rounded, [batch], how) for how in ("float", arithmetic))
    assert floats.float_loss == products.float_loss
    assert floats.loss != products.loss
    assert floats.kl < products.kl < 0.05
    assert products.top_1_agreement > 0.9


def test_what_cannot_be_is_refused(
    tiny_model: MaskedLM, rounded: MaskedLM, arithmetic: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"{arithmetic} arithmetic needs {arithmetic} weights"):
        export(tiny_model, tmp_path, arithmetic=arithmetic)
    with pytest.raises(ValueError, match="`arithmetic` must be one of float, int8, bfloat16"):
        export(rounded, tmp_path, arithmetic="int4")
    with pytest.raises(ValueError, match="go without XLA"):
        Inference(rounded, arithmetic=arithmetic, xla=True)
    assert not list(tmp_path.iterdir())


def test_int8_is_refused_where_there_is_no_onednn(
    tiny_model: MaskedLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "is_built_with_int8_product", lambda: False)
    with pytest.raises(ValueError, match="needs oneDNN's _QuantizedMatMul"):
        export(quantize(tiny_model), tmp_path, arithmetic="int8")
    assert not list(tmp_path.iterdir())


def test_bfloat16_is_warned_of_where_it_is_slow(
    tiny_model: MaskedLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu avx2\n")
    monkeypatch.setattr(processor, "CPUINFO", cpuinfo)
    with pytest.warns(SlowProcessorWarning, match=r"avx512_bf16 or amx_bf16.*slower than in float32"):
        check_arithmetic(to_bfloat16(tiny_model), "bfloat16")
