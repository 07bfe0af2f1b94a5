"""The export: what lies in it, what it answers, and what a stock server would make of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from conftest import make_tiny_model
from tensorflow.core.protobuf import saved_model_pb2

from export.stock import NAMES, PORTABLE, SMALL, StockSession, assert_close
from tf_mlm import signatures
from tf_mlm.config import Buckets
from tf_mlm.errors import ExportMismatchError, VersionExistsError
from tf_mlm.export.description import read_description
from tf_mlm.export.quantization import quantize
from tf_mlm.export.reload_check import check_reloaded
from tf_mlm.export.saved_model import export
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.version_directory import versions


def test_it_holds_what_the_contract_says(tiny_export: Path) -> None:
    files = {str(path.relative_to(tiny_export)) for path in tiny_export.rglob("*") if path.is_file()}
    expected = {"saved_model.pb", "assets.extra/tf_serving_warmup_requests", "assets.extra/tf_mlm.json"}
    assert expected <= files
    assert any(name.startswith("assets/") for name in files)
    assert [child.name for child in tiny_export.parent.iterdir()] == ["1"]
    description = read_description(tiny_export)
    assert description["buckets"] == {"batch": [1, 4], "length": [8, 16, 32], "masks": [1, 4, 16]}
    assert description["top_k"] == 5
    assert description["xla"] is True
    assert description["versions"]["tensorflow"] == tf.__version__
    assert description["model"]["hidden_size"] == 16


@pytest.mark.parametrize("signature", signatures.SIGNATURES, ids=lambda signature: signature.name)
@pytest.mark.parametrize("portable", [False, True])
def test_signatures_have_the_inputs_and_outputs_of_the_contract(
    tiny_export: Path, signature: signatures.Signature, portable: bool
) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((tiny_export / "saved_model.pb").read_bytes())
    name = signature.portable_name if portable else signature.name
    found = proto.meta_graphs[0].signature_def[name]
    for wanted, given in ((signature.inputs, found.inputs), (signature.outputs, found.outputs)):
        assert set(given) == set(wanted)
        for alias, tensor in wanted.items():
            assert tf.as_dtype(given[alias].dtype) == tensor.dtype
            sizes = [dim.size for dim in given[alias].tensor_shape.dim]
            assert len(sizes) == len(tensor.shape)
            assert sizes[0] == -1


@pytest.fixture(scope="module")
def without_xla(tiny_export: Path, server_without_xla: StockSession) -> dict[str, Any]:
    """What a server that refuses XLA makes of every signature and its twin, graphs as they were written."""
    return server_without_xla(tiny_export, signatures=[*NAMES, *PORTABLE])


@pytest.fixture(scope="module")
def with_xla(tiny_export: Path, stock_server: StockSession) -> dict[str, Any]:
    """What a server with XLA answers behind its warm-up and 60 requests, and what it has compiled by then."""
    return stock_server(tiny_export, warmup=True, random_requests=60, signatures=NAMES)


@pytest.fixture(scope="module")
def plain(plain_export: Path, server_without_xla: StockSession) -> dict[str, Any]:
    """What a server that refuses XLA makes of an export without it, behind the warm-up and 5 requests."""
    return server_without_xla(plain_export, warmup=True, random_requests=5, signatures=NAMES)


def test_xla_twins_and_a_stock_server_without_xla_agree(
    with_xla: dict[str, Any], plain: dict[str, Any], without_xla: dict[str, Any]
) -> None:
    assert with_xla["errors"] == {}
    numeric = {name for name in NAMES if name != "tokenize"}  # tokenising runs no numeric program
    assert set(without_xla["errors"]) == numeric
    assert all("XLA compilation disabled" in message for message in without_xla["errors"].values())
    assert plain["errors"] == {}
    for name in NAMES:
        assert_close(with_xla["answers"][name], without_xla["answers"][name + signatures.PORTABLE])
        assert_close(with_xla["answers"][name], plain["answers"][name])


@pytest.mark.parametrize(
    "names",
    [  # every signature once, with XLA or as its twin
        pytest.param(NAMES[::2], id="xla"),
        pytest.param(PORTABLE[1::2], id="portable"),
        pytest.param(NAMES, id="all with xla", marks=pytest.mark.slow),
        pytest.param(PORTABLE, id="all portable", marks=pytest.mark.slow),
    ],
)
def test_a_stock_server_may_rewrite_the_graphs(
    tiny_export: Path,
    without_xla: dict[str, Any],
    names: list[str],
    stock_server: StockSession,
    server_without_xla: StockSession,
) -> None:
    server = server_without_xla if set(names) <= set(PORTABLE) else stock_server
    rewritten = server(tiny_export, rewrite=True, signatures=names)
    assert rewritten["errors"] == {}
    for name in names:
        twin = name.removesuffix(signatures.PORTABLE) + signatures.PORTABLE
        assert_close(rewritten["answers"][name], without_xla["answers"][twin])


def test_warmup_compiles_everything_there_is_to_compile(tiny_export: Path, with_xla: dict[str, Any]) -> None:
    programs = read_description(tiny_export)["programs"]
    assert programs == 2 * 3 + 4 * 3
    assert with_xla["after_warmup"] == programs
    assert with_xla["after_requests"] == programs


def test_an_export_without_xla_has_no_twins_and_compiles_nothing(
    plain_export: Path, plain: dict[str, Any]
) -> None:
    assert read_description(plain_export)["signatures"] == sorted(NAMES)
    assert read_description(plain_export)["programs"] == 0
    assert plain["errors"] == {}  # the process would refuse what it had to compile, the warm-up included


def test_an_existing_version_is_refused_and_stays_as_it_is(tiny_export: Path, tiny_model: MaskedLM) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_export.rglob("*")}
    with pytest.raises(VersionExistsError, match=r"Version 1 already exists .* write version 2"):
        export(tiny_model, tiny_export.parent, version=1)
    assert {path: path.stat().st_mtime_ns for path in tiny_export.rglob("*")} == before


def test_a_killed_export_leaves_no_version(tmp_path: Path) -> None:
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import conftest
from tf_mlm import signatures
from tf_mlm.export import saved_model
signatures.SIGNATURES = (signatures.TOKENIZE,)  # one is as much of an export to leave behind
saved_model.check_operations = lambda directory: os.kill(os.getpid(), signal.SIGKILL)
saved_model.export(conftest.make_tiny_model(), {str(tmp_path / "base")!r}, xla=False)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    left = [child.name for child in (tmp_path / "base").iterdir()]
    assert left, "the export had not begun to write"
    assert not versions(tmp_path / "base")
    assert all(name.startswith(".1.unfinished-") for name in left)


def test_a_failing_check_leaves_nothing(
    tiny_model: MaskedLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tf_mlm.export.saved_model.write_warmup", full_disk)
    monkeypatch.setattr(signatures, "SIGNATURES", (signatures.TOKENIZE,))
    with pytest.raises(OSError, match="No space left"):
        export(tiny_model, tmp_path, xla=False, buckets=SMALL)
    assert os.listdir(tmp_path) == []


def test_the_reload_check_finds_an_export_of_another_model(plain_export: Path, tiny_model: MaskedLM) -> None:
    other = MaskedLM.from_config(tiny_model.config, seed=99, preprocessor=tiny_model.preprocessor)
    with pytest.raises(ExportMismatchError, match="must answer as the model does"):
        check_reloaded(other, plain_export)


def test_the_reload_check_finds_a_small_difference_of_floats(plain_export: Path) -> None:
    model = make_tiny_model()
    check_reloaded(model, plain_export)
    gamma = model.encoder.blocks[-1].output_norm.gamma
    gamma.assign(gamma * tf.constant([1.01] + [1.0] * (gamma.shape[0] - 1)))
    with pytest.raises(ExportMismatchError, match=r"within 0\.0001"):
        check_reloaded(model, plain_export)


@pytest.mark.parametrize("name", ["tokenize", "tokenize" + signatures.PORTABLE])
def test_the_reload_check_asks_signatures_and_their_twins(
    tiny_export: Path, tiny_model: MaskedLM, tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(tiny_export, tmp_path / "1"))
    found = saved_model_pb2.SavedModel.FromString((copy / "saved_model.pb").read_bytes())
    served = found.meta_graphs[0].signature_def
    served[name].outputs["token_ids"].CopyFrom(served[name].outputs["starts"])
    for other in set(served) - {name, "__saved_model_init_op"}:  # which would be asked before it
        del served[other]
    (copy / "saved_model.pb").write_bytes(found.SerializeToString())
    with pytest.raises(ExportMismatchError, match=f"Signature `{name}` of the reloaded export"):
        check_reloaded(tiny_model, copy)


def test_too_many_buckets_for_the_warmup_file_are_refused(
    tiny_model: MaskedLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is traced."""
    buckets = Buckets(batch=tuple(range(1, 30)), length=tuple(range(8, 60)), masks=(1,))
    monkeypatch.delattr("tf_mlm.export.saved_model.signature_functions")
    with pytest.raises(ValueError, match="at most 1000 warm-up records"):
        export(tiny_model, tmp_path, buckets=buckets, xla=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_int8_is_stored_as_int8_and_runs_on_any_server(
    tiny_model: MaskedLM, tmp_path: Path, stock_server: StockSession, server_without_xla: StockSession
) -> None:
    quantized = quantize(tiny_model)
    path = export(quantized, tmp_path, buckets=SMALL, top_k=5, accuracy={"kl": 0.5})
    assert read_description(path)["quantization"] == "int8"
    assert read_description(path)["accuracy"] == {"kl": 0.5}
    stored = tf.train.list_variables(str(path / "variables" / "variables"))
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    types = reader.get_variable_to_dtype_map()
    matrices = {name for name, shape in stored if len(shape) == 2 and min(shape) > 1}
    floats = {name for name in matrices if types[name] == tf.float32}
    assert len(floats) == 2  # positions and segments
    assert len(matrices) == 2 + 1 + 4 * tiny_model.config.num_hidden_layers + 1  # table, blocks, head
    with_xla = stock_server(path, signatures=NAMES)
    without = server_without_xla(path, signatures=PORTABLE)
    assert with_xla["errors"] == without["errors"] == {}
    for name in NAMES:
        assert_close(with_xla["answers"][name], without["answers"][name + signatures.PORTABLE])
