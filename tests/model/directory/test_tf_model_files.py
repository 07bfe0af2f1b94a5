"""Weights of transformers 4's TensorFlow models: files that it wrote, and the logits that it gave."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tf_mlm import MaskedLM, NewHeadWarning, load
from tf_mlm.errors import CheckpointError

FAMILIES = ("albert", "bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
IDS = np.array([[2, 5, 7, 9, 11, 3], [4, 6, 8, 10, 12, 14]])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tf_models")
    with tarfile.open(Path(__file__).with_name("tf_models.tar.gz")) as archive:
        archive.extractall(root, filter="data")
    return root


def logits(model: MaskedLM) -> np.ndarray:
    batch, length = IDS.shape
    return model(IDS, [length] * batch, None, np.tile(np.arange(length), (batch, 1))).numpy()


@pytest.mark.parametrize("directory", [*FAMILIES, "bert-shards", "bert-safetensors"])
def test_logits_are_those_of_transformers(saved: Path, directory: str) -> None:
    expected = np.load(saved / directory / "logits.npy")
    np.testing.assert_allclose(logits(load(saved / directory)), expected, atol=1e-5)


def test_other_heads_are_left_out(saved: Path) -> None:
    assert logits(load(saved / "bert-pretraining")).shape == (2, 6, 24)


def test_an_encoder_gets_a_new_head(saved: Path) -> None:
    with pytest.warns(NewHeadWarning):
        load(saved / "bert-encoder")


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved / "bert", tmp_path / "bert")


def test_a_damaged_file_is_named(copy: Path) -> None:
    path = copy / "tf_model.h5"
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"tf_model.h5` is not a complete HDF5 file"):
            load(copy)


def test_a_file_of_another_model_of_keras_is_refused(copy: Path) -> None:
    with h5py.File(copy / "tf_model.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros(3)
    with pytest.raises(CheckpointError, match=r"TensorFlow models. Received: an HDF5 file of layers"):
        load(copy)


def test_long_lists_of_names_stand_in_pieces(copy: Path, saved: Path) -> None:
    with h5py.File(copy / "tf_model.h5", "r+") as file:
        for group in (file["bert"], file["mlm___cls"]):
            names = list(group.attrs.pop("weight_names"))
            group.attrs["weight_names0"] = [name.encode() for name in names[:5]]
            if names[5:]:
                group.attrs["weight_names1"] = [name.encode() for name in names[5:]]
    np.testing.assert_allclose(logits(load(copy)), np.load(saved / "bert" / "logits.npy"), atol=1e-5)


def test_a_file_that_does_not_fit_lists_what_is_wrong(copy: Path) -> None:
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 8', '"hidden_size": 16'))
    with pytest.raises(CheckpointError, match=r"misshapen: .*word_embeddings.weight in tf_model"):
        load(copy)


def test_a_shared_table_must_be_one(copy: Path) -> None:
    table = "tf_bert_for_masked_lm/bert/embeddings/word_embeddings/weight:0"
    with h5py.File(copy / "tf_model.h5", "r+") as file:
        file["mlm___cls"][table][0, 0] += 1
    with pytest.raises(CheckpointError, match=r"word_embeddings/weight:0` must be the same wherever it"):
        load(copy)
