"""Weight files: shards, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.numpy
from reference.model_directory import assert_same

from tf_mlm.model.checkpoint import load
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.tensor_files import CheckpointError


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
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for content in (b"", b"\2" + bytes(7) + b"[]", pointer):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model.safetensors` is not a complete safetensors file"):
            load(directory)
