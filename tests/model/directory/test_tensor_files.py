"""Weight files: shards, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.numpy
from reference.model_directory import assert_same

from tf_mlm.errors import CheckpointError
from tf_mlm.model.directory.checkpoint import load
from tf_mlm.model.masked_lm import MaskedLM


def test_shards_are_found_by_their_index(tiny_model: MaskedLM, directory: Path) -> None:
    tensors = safetensors.numpy.load_file(directory / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in shards.items():
        safetensors.numpy.save_file({name: tensors[name] for name in part}, directory / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (directory / "model.safetensors").unlink()
    assert_same(tiny_model, load(directory))
    twice = {name: tensors[name] for name in (names[0], *names[1::2])}
    safetensors.numpy.save_file(twice, directory / "model-00002-of-00002.safetensors")
    with pytest.raises(
        CheckpointError, match=r"one file. Received: bert.*00001-of-00002.* and `.*00002-of-00002"
    ):
        load(directory)
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"index.json` names a shard that is not there: `model-00002"):
        load(directory)
    for text in ('{"weight_map": []}', '{"weight_map": {"a": 3}}'):
        (directory / "model.safetensors.index.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"index.json` must hold a `weight_map`"):
            load(directory)


def test_a_truncated_file_is_named_with_its_first_lost_tensor(directory: Path) -> None:
    path = directory / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"model.safetensors` is not a complete.*cut off: (bert|cls)\."):
        load(directory)
    path.write_bytes(content[:20])
    with pytest.raises(CheckpointError, match=r"model.safetensors` is not a complete safetensors file"):
        load(directory)
    path.write_bytes(b"\2" + bytes(7) + b"[]")
    with pytest.raises(CheckpointError, match=r"model.safetensors` is not a complete safetensors file"):
        load(directory)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tf_model-00001-of-00002.h5", r"another name than tf_model.h5.*tf_model.h5.index.json"),
        ("flax_model.msgpack", r"Flax models.*from_flax=True"),
        ("bert_model.ckpt.index", r"TensorFlow checkpoint.*`tf-mlm convert`"),
        ("ckpt-7.index", r"TensorFlow checkpoint.*tf.train.Checkpoint have to be saved as model.safetensors"),
        ("model.onnx", r"ONNX Runtime.*the directory it was exported from"),
        ("onnx/model.onnx", r"ONNX Runtime.*the directory it was exported from"),
        ("model.Q4_K_M.gguf", r"llama.cpp"),
        ("model.fp16.safetensors", r"another name than model.safetensors.*rename it"),
        (
            "pytorch_model-00001-of-00002.bin",
            r"another name than pytorch_model.bin.*pytorch_model.bin.index.json",
        ),
        ("saved_model.pb", r"a SavedModel.*Serve it"),
        ("model.weights.h5", r"weights of a Keras model"),
    ],
)
@pytest.mark.parametrize("with_config", [True, False])
def test_weights_in_another_form_are_named(
    directory: Path, name: str, message: str, with_config: bool
) -> None:
    (directory / "model.safetensors").unlink()
    if not with_config:
        (directory / "config.json").unlink()
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=rf"{name}` is .*{message}"):
        load(directory)


def test_an_adapter_is_named_even_beside_weights(directory: Path) -> None:
    (directory / "adapter_config.json").write_text('{"base_model_name_or_path": "some/bert"}')
    with pytest.raises(CheckpointError, match=r"adapter_config.json` says .* adapter for 'some/bert'.*PEFT"):
        load(directory)
