"""The model directory: what is saved comes back, and what has no place in the layout is refused."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from reference.model_directory import Tensors, assert_same, edit_json

from tf_mlm.config import ModelConfig
from tf_mlm.errors import CheckpointError, ConfigError, TokenizerWarning
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.model.directory.checkpoint import load, save
from tf_mlm.model.masked_lm import MaskedLM

SIZES = {
    "vocab_size": 21,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
FAMILIES = {
    "albert": ModelConfig(
        **SIZES, model_type="albert", embedding_size=4, num_hidden_groups=1, embedding_projection=True
    ),
    "bert": ModelConfig(**SIZES),
    "untied": ModelConfig(**SIZES, tie_word_embeddings=False),
    "camembert": ModelConfig(**SIZES, model_type="camembert", pad_token_id=1),
    "distilbert": ModelConfig(**SIZES, model_type="distilbert", type_vocab_size=0),
    "electra": ModelConfig(**SIZES, model_type="electra", embedding_size=4),
    "roberta": ModelConfig(**SIZES, model_type="roberta", pad_token_id=1),
    "xlm-roberta": ModelConfig(**SIZES, model_type="xlm-roberta", pad_token_id=1),
    "keras head": ModelConfig(**SIZES, head_hidden_act="relu", head_layer_norm_eps=1e-3),
}


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_a_saved_model_comes_back(config: ModelConfig, tmp_path: Path) -> None:
    model = MaskedLM.from_config(config, seed=1)
    for index, variable in enumerate(model.variables):
        variable.assign(np.random.default_rng(index).normal(size=variable.shape))
    save(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TokenizerWarning)
        loaded = load(tmp_path)
    assert loaded.config == config
    assert loaded.preprocessor is None
    assert_same(model, loaded)


def test_a_preprocessor_comes_back(tiny_model: MaskedLM, directory: Path) -> None:
    loaded = load(directory)
    texts = ["The cats sat, [MASK] ran?", "unknown"]
    for ours, theirs in zip(tiny_model.preprocessor(texts), loaded.preprocessor(texts), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.preprocessor.max_length == tiny_model.config.max_length
    assert loaded.preprocessor.vocabulary == tiny_model.preprocessor.vocabulary


@pytest.mark.parametrize(
    ("dtype", "stored"), [("bfloat16", tf.bfloat16), ("mixed_bfloat16", tf.float32), ("float64", tf.float64)]
)
def test_dtype_is_the_callers_choice(directory: Path, dtype: str, stored: tf.DType, tmp_path: Path) -> None:
    model = load(directory, dtype)
    assert {variable.dtype for variable in model.variables} == {stored}
    save(model, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["dtype"] == stored.name
    assert_same(model, load(tmp_path / "again", dtype))


def test_settings_it_does_not_use_survive(directory: Path, tmp_path: Path) -> None:
    edit_json(directory, classifier_dropout=0.3, id2label={"0": "no"}, transformers_version="4.0.0")
    edit_json(directory, "tokenizer_config.json", never_split=["x"], model_max_length=99)
    save(load(directory), tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["classifier_dropout"] == 0.3
    assert config["id2label"] == {"0": "no"}
    assert config["transformers_version"] == "4.0.0"
    assert config["architectures"] == ["BertForMaskedLM"]
    tokenizer = json.loads((tmp_path / "again" / "tokenizer_config.json").read_text())
    assert tokenizer["never_split"] == ["x"]
    assert tokenizer["model_max_length"] == 99


def test_null_settings_mean_the_familys_default(directory: Path) -> None:
    edit_json(directory, pad_token_id=None, hidden_act=None, position_embedding_type="absolute")
    assert load(directory).config.pad_token_id == 0
    assert load(directory).config.hidden_act == "gelu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, r"must be one of albert, bert, .*Received: model_type='gpt2'"),
        ({"model_type": None, "architectures": None}, r"must be one of albert.*Received: model_type=None"),
        ({"position_embedding_type": "relative_key"}, r"must be 'absolute' or absent.*'relative_key'"),
        ({"is_decoder": True}, r"`is_decoder` must be False or absent"),
        (
            {"quantization_config": {"bits": 4}},
            r"`quantization_config` must be \{\} or absent.*\{'bits': 4\}.*`dequantize\(\)`",
        ),
        (
            {"model_type": "albert", "num_hidden_groups": 1, "num_hidden_layers": 10**20},
            r"must fit into memory. Received: num_hidden_layers=100000000000000000000",
        ),
        ({"hidden_dropout_prob": "some"}, r"`hidden_dropout_prob` must be a number in \[0, 1\).*'some'"),
        ({"inner_group_num": 2}, r"`inner_group_num` must be 1 or absent. Received: inner_group_num=2"),
        (
            {"model_type": "albert", "num_hidden_groups": 3},
            r"at most `num_hidden_layers`.*groups=3",
        ),
        ({"model_type": "albert", "num_hidden_groups": 0}, r"`num_hidden_groups` must be a whole number"),
        (
            {"hidden_size": 1 << 42},
            r"must fit into memory. Received: hidden_size=4398046511104, with vocab_size=21.*a machine of ",
        ),
        *(
            ({name: 10**20}, rf"must fit into memory. Received: {name}=100000000000000000000, with .* GB")
            for name in ("intermediate_size", "vocab_size", "num_hidden_layers", "max_position_embeddings")
        ),
        (
            {"model_type": "distilbert", "hidden_dim": 10**20, "dim": 16, "n_heads": 2, "n_layers": 1},
            r"Received: hidden_dim=100000000000000000000, with .* dim=16",
        ),
        ({"hidden_act": "leaky_relu"}, r"`hidden_act` must be one of gelu, .*'leaky_relu'"),
        ({"num_attention_heads": 3}, r"must divide `hidden_size`.*num_attention_heads=3"),
        ({"hidden_size": "16"}, r"`hidden_size` must be a whole number"),
        ({"layer_norm_eps": "tiny"}, r"`layer_norm_eps` must be a number. Received: layer_norm_eps='tiny'"),
        ({"layer_norm_eps": float("nan")}, r"`layer_norm_eps` must be positive"),
        ({"initializer_range": -1}, r"`initializer_range` must be positive"),
        ({"type_vocab_size": 2.0}, r"`type_vocab_size` must be a whole number of at least 0.*2.0"),
        ({"pad_token_id": True}, r"`pad_token_id` must be a whole number of at least 0.*True"),
        ({"pad_token_id": 21}, r"`pad_token_id` must be an id of the vocabulary.*vocab_size=21"),
        ({"tie_word_embeddings": "no"}, r"`tie_word_embeddings` must be true or false.*'no'"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_computed(directory: Path, change: dict, message: str) -> None:
    edit_json(directory, **change)
    with pytest.raises(ConfigError, match=message) as caught:
        load(directory)
    assert str(directory / "config.json") in str(caught.value)


def test_directories_that_are_none(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`bert-base-uncased` is not a directory. Give a local model"):
        load("bert-base-uncased")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"config.json` does not exist"):
        load(tmp_path / "empty")
    (directory / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds no weights. Expected: model.safetensors"):
        load(directory)
    (directory / "bert_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is a TensorFlow 1 checkpoint. Run `tf-mlm convert`"):
        load(directory)
    (directory / "config.json").write_text('{"a": 1\n"b": 2}')
    (directory / "bert_config.json").unlink()
    with pytest.raises(ConfigError, match=r"config.json` is not valid JSON \(line 2, column 1\)"):
        load(directory)


def test_saving_replaces_the_files_of_another_tokenizer(tiny_model: MaskedLM, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "special_tokens_map.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    save(tiny_model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "notes.txt",
        "tokenizer_config.json",
        "vocab.txt",
    ]


def test_a_failed_save_leaves_the_old_files_whole(
    tiny_model: MaskedLM, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in directory.iterdir()}

    def full_disk(tensors: Tensors, path: Path, metadata: dict) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(tiny_model, directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_models_without_a_place_in_the_layout_are_refused(tiny_model: MaskedLM, tmp_path: Path) -> None:
    other = MaskedLM(lambda *inputs: inputs, tiny_model.head)
    with pytest.raises(ConfigError, match="Only a model around a BertEncoder"):
        save(other, tmp_path / "none")
    head = MaskedLMHead(21, activation="softmax", intermediate_activation="tanh", hidden_dim=16)
    with pytest.raises(ConfigError) as caught:
        save(MaskedLM(tiny_model.encoder, head), tmp_path / "none")
    for rule in ("output table", "'gelu'", "`activation` must be None", "`layer_norm_epsilon` must be 1e-12"):
        assert rule in str(caught.value)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "elu"}, r"`hidden_act` must be one of gelu"),
        ({"embedding_size": 4}, r"`embedding_size` must be None with model_type='bert'"),
        ({"model_type": "distilbert"}, r"`type_vocab_size` must be 0 with model_type='distilbert'"),
        (
            {"model_type": "electra", "embedding_size": 4, "tie_word_embeddings": False},
            r"`tie_word_embeddings` must be true when `embedding_size` differs",
        ),
    ],
    ids=str,
)
def test_configs_without_a_place_in_the_layout_are_refused(
    change: dict, message: str, tmp_path: Path
) -> None:
    model = MaskedLM.from_config(dataclasses.replace(FAMILIES["bert"], **change), seed=0)
    with pytest.raises(ConfigError, match=message):
        save(model, tmp_path / "none")
    assert not (tmp_path / "none").exists()
