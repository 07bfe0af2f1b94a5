"""`tf-mlm export` of a rounded model: buckets and rounding that are fitted to text, and what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tensorflow as tf
from reference.command_line import run
from reference.platforms import HAS_ONEDNN

import tf_mlm
from tf_mlm.export.description import read_description
from tf_mlm.export.quantization import quantize
from tf_mlm.layers.dense import Dense
from tf_mlm.signatures import SIGNATURES


def _nearest_int8(model_dir: Path) -> set[bytes]:
    rounded = quantize(tf_mlm.load(model_dir)).submodules
    return {layer.kernel.values.numpy().tobytes() for layer in rounded if isinstance(layer, Dense)}


def _stored_int8(version: Path) -> set[bytes]:
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    types = reader.get_variable_to_dtype_map()
    return {reader.get_tensor(name).tobytes() for name, dtype in types.items() if dtype == tf.int8}


@pytest.mark.parametrize("stored", ["int8", "bfloat16"])
def test_export_calibrates_rounds_and_tunes(
    stored: str,
    model_dir: Path,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = tmp_path / "texts.jsonl"
    sentences = corpus.read_text().split("\n\n")[:200]
    texts.write_text("".join(json.dumps({"body": sentence}) + "\n" for sentence in sentences))
    settings = ["--calibrate", texts, "--programs", 6, "--evaluate", texts, "--text-field", "body"]
    settings += ["--quantize", "int8"] if stored == "int8" else ["--dtype", "bfloat16", "--tune"]
    assert run("export", model_dir, tmp_path / "mlm", "--top-k", 5, "--no-xla", *settings) == 0
    printed = " ".join(capsys.readouterr().out.split())
    description = read_description(tmp_path / "mlm" / "1")
    assert f"{stored} beside float32 at" in printed
    buckets = description["buckets"]
    assert len(buckets["batch"]) * len(buckets["length"]) + 4 * len(buckets["masks"]) <= 6
    assert buckets["length"][-1] == 16  # the model's positions
    assert description["weights"] == stored
    assert description["signatures"] == sorted(signature.name for signature in SIGNATURES)  # no twins
    can = stored == "bfloat16" or HAS_ONEDNN
    if stored == "int8":
        assert description["arithmetic"] == (stored if can else "float")
        assert description["tuning"] is None
        assert not _nearest_int8(model_dir) & _stored_int8(tmp_path / "mlm" / "1")  # fitted to the texts
    else:
        length = buckets["length"][0]
        assert f"batch {buckets['batch'][0]}, length {length}" in printed
        chosen = {bucket["chosen"] for bucket in description["tuning"].values()}
        assert chosen <= {"float", "bfloat16"}
        assert description["arithmetic"] == ("bfloat16" if "bfloat16" in chosen else "float")
    assert description["accuracy"]["masks"] > 0
    assert run("inspect", tmp_path / "mlm") == 0
    assert f"weights: {stored}" in capsys.readouterr().out
