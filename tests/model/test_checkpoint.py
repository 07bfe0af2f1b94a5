"""The model directory: what is saved comes back, and what does not fit is refused with its name."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tf_mlm.config import ConfigError, ModelConfig
from tf_mlm.layers.masked_lm_head import MaskedLMHead
from tf_mlm.model.checkpoint import NewHeadWarning, load, save
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.tensor_files import CheckpointError
from tf_mlm.model.tokenizer_files import TokenizerWarning

SIZES = {
    "vocab_size": 21,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
FAMILIES = {
    "bert": ModelConfig(**SIZES),
    "untied": ModelConfig(**SIZES, tie_word_embeddings=False),
    "distilbert": ModelConfig(**SIZES, model_type="distilbert", type_vocab_size=0),
    "electra": ModelConfig(**SIZES, model_type="electra", embedding_size=4),
    "roberta": ModelConfig(**SIZES, model_type="roberta", pad_token_id=1),
    "xlm-roberta": ModelConfig(**SIZES, model_type="xlm-roberta", pad_token_id=1),
    "keras head": ModelConfig(**SIZES, head_hidden_act="relu", head_layer_norm_eps=1e-3),
}

Tensors = dict[str, np.ndarray]


@pytest.fixture
def directory(tiny_model: MaskedLM, tmp_path: Path) -> Path:
    """The tiny model, saved."""
    save(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def edit_tensors(directory: Path, change: Callable[[Tensors], Tensors | None]) -> None:
    path = directory / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(change(tensors) or tensors, path, metadata={"format": "pt"})


def edit_json(directory: Path, name: str = "config.json", **changes: object) -> None:
    values = json.loads((directory / name).read_text())
    (directory / name).write_text(json.dumps({**values, **changes}))


def assert_same(ours: MaskedLM, other: MaskedLM) -> None:
    for a, b in zip(ours.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.name)


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


# Other spellings of the same checkpoint.


def test_names_of_the_first_conversions(tiny_model: MaskedLM, directory: Path) -> None:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(tensors: Tensors) -> Tensors:
        for new, former in old.items():
            tensors = {name.replace(new, former): value for name, value in tensors.items()}
        return tensors

    edit_tensors(directory, rename)
    assert_same(tiny_model, load(directory))


def test_copies_of_tied_tensors_may_be_there_or_stand_alone(tiny_model: MaskedLM, directory: Path) -> None:
    def add(tensors: Tensors) -> None:
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]

    edit_tensors(directory, add)
    assert_same(tiny_model, load(directory))

    def remove(tensors: Tensors) -> None:
        del tensors["bert.embeddings.word_embeddings.weight"], tensors["cls.predictions.bias"]

    edit_tensors(directory, remove)
    assert_same(tiny_model, load(directory))


def test_a_copy_that_differs_is_refused(directory: Path) -> None:
    def add(tensors: Tensors) -> None:
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"] + 1

    edit_tensors(directory, add)
    with pytest.raises(
        CheckpointError, match=r"model.safetensors`: `cls.predictions.decoder.weight` must equal"
    ):
        load(directory)


def test_parts_for_other_tasks_are_ignored(tiny_model: MaskedLM, directory: Path) -> None:
    def add(tensors: Tensors) -> None:
        for name in ("bert.pooler.dense.weight", "cls.seq_relationship.bias", "classifier.weight"):
            tensors[name] = np.zeros([2, 2], np.float32)
        tensors["bert.embeddings.position_ids"] = np.zeros([1, 64], np.int64)

    edit_tensors(directory, add)
    assert_same(tiny_model, load(directory))


@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_an_encoder_alone_gets_a_head_from_the_seed(
    tiny_model: MaskedLM, directory: Path, prefix: str
) -> None:
    def strip(tensors: Tensors) -> Tensors:
        return {
            prefix + name.removeprefix("bert."): value
            for name, value in tensors.items()
            if name.startswith("bert.")
        } | {"classifier.weight": np.zeros([2, 2], np.float32)}

    edit_tensors(directory, strip)
    with pytest.warns(NewHeadWarning, match=r"without a masked-LM head \(found instead.*classifier.weight\)"):
        loaded = load(directory)
    for ours, theirs in zip(tiny_model.encoder.variables, loaded.encoder.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.warns(NewHeadWarning):
        assert_same(loaded, load(directory))
    with pytest.warns(NewHeadWarning):
        other = load(directory, seed=5)
    assert not np.allclose(loaded.head.intermediate_dense.kernel, other.head.intermediate_dense.kernel)


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
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"index.json` names a shard that is not there: `model-00002"):
        load(directory)
    (directory / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with pytest.raises(CheckpointError, match=r"index.json` must hold a `weight_map`"):
        load(directory)


# What does not fit.


def test_all_that_is_wrong_is_listed_at_once(directory: Path) -> None:
    def spoil(tensors: Tensors) -> None:
        del tensors["bert.encoder.layer.1.attention.self.key.weight"]
        tensors["bert.encoder.layer.0.output.dense.bias"] = np.zeros([3], np.float32)
        tensors["bert.encoder.layer.7.output.dense.bias"] = np.zeros([16], np.float32)

    edit_tensors(directory, spoil)
    with pytest.raises(CheckpointError) as caught:
        load(directory)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"The weights in `{directory}` do not fit `{directory / 'config.json'}`;")
    assert [line.strip() for line in lines] == [
        "misshapen: bert.encoder.layer.0.output.dense.bias in model.safetensors, shape [3], expected [16]",
        "missing: bert.encoder.layer.1.attention.self.key.weight, expected shape [16, 16]",
        "unexpected: bert.encoder.layer.7.output.dense.bias in model.safetensors, shape [16]",
    ]


def test_a_head_that_is_partly_there_is_an_error(directory: Path) -> None:
    edit_tensors(
        directory,
        lambda tensors: {n: v for n, v in tensors.items() if n != "cls.predictions.transform.LayerNorm.bias"},
    )
    with pytest.raises(CheckpointError, match=r"missing: cls.predictions.transform.LayerNorm.bias"):
        load(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 1}, r"unexpected: bert.encoder.layer.1.attention.output.LayerNorm.bias"),
        ({"num_hidden_layers": 3}, r"missing: bert.encoder.layer.2.attention.self.query.weight"),
        (
            {"intermediate_size": 33},
            r"layer.0.intermediate.dense.weight .*shape \[32, 16\], expected \[33, 16\]",
        ),
        ({"type_vocab_size": 0}, r"unexpected: bert.embeddings.token_type_embeddings.weight"),
        (
            {"tie_word_embeddings": False},
            r"missing: cls.predictions.decoder.weight, expected shape \[21, 16\]",
        ),
    ],
    ids=str,
)
def test_a_config_that_lies(directory: Path, change: dict, message: str) -> None:
    edit_json(directory, **change)
    with pytest.raises(CheckpointError, match=message):
        load(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, r"must be one of bert, distilbert.*Received: model_type='gpt2'"),
        ({"model_type": None}, r"must be one of bert.*Received: model_type=None"),
        ({"position_embedding_type": "relative_key"}, r"must be 'absolute' or absent.*'relative_key'"),
        ({"is_decoder": True}, r"`is_decoder` must be False or absent"),
        ({"quantization_config": {"bits": 4}}, r"`quantization_config` must be \{\} or absent"),
        ({"hidden_act": "leaky_relu"}, r"`hidden_act` must be one of gelu, .*'leaky_relu'"),
        ({"num_attention_heads": 3}, r"must divide `hidden_size`.*num_attention_heads=3"),
        ({"hidden_size": "16"}, r"`hidden_size` must be a whole number"),
        ({"layer_norm_eps": "tiny"}, r"wrong type"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_computed(directory: Path, change: dict, message: str) -> None:
    edit_json(directory, **change)
    with pytest.raises(ConfigError, match=message) as caught:
        load(directory)
    assert str(directory / "config.json") in str(caught.value)


def test_a_truncated_file_is_named_with_its_first_lost_tensor(directory: Path) -> None:
    path = directory / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"model.safetensors` is not a complete.*cut off: (bert|cls)\."):
        load(directory)
    path.write_bytes(content[:20])
    with pytest.raises(CheckpointError, match=r"model.safetensors` is not a complete safetensors file"):
        load(directory)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model.safetensors` is not a complete safetensors file"):
        load(directory)


def test_weights_must_be_floating_point(directory: Path) -> None:
    edit_tensors(
        directory,
        lambda tensors: tensors.update({"cls.predictions.bias": np.zeros([21], np.int8)}),
    )
    with pytest.raises(CheckpointError, match=r"Received: cls.predictions.bias of int8"):
        load(directory)


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
    (directory / "config.json").write_text('{"a": 1,\n}')
    (directory / "bert_config.json").unlink()
    with pytest.raises(ConfigError, match=r"config.json` is not valid JSON \(line 2, column 1\)"):
        load(directory)


# Vocabularies.


def test_a_vocabulary_of_another_length_is_refused(directory: Path) -> None:
    lines = (directory / "vocab.txt").read_text().splitlines()
    for changed in (lines[:-1], [*lines, "extra"]):
        (directory / "vocab.txt").write_text("\n".join(changed) + "\n")
        message = rf"one token per row.*{len(changed)} tokens in `.*vocab.txt`, vocab_size=21"
        with pytest.raises(CheckpointError, match=message):
            load(directory)


def test_a_repeated_vocabulary_line_is_named(directory: Path) -> None:
    lines = (directory / "vocab.txt").read_text().splitlines()
    lines[12] = lines[7]
    (directory / "vocab.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"vocab.txt`.*line 13"):
        load(directory)


def test_carriage_returns_do_not_count(tiny_model: MaskedLM, directory: Path) -> None:
    content = (directory / "vocab.txt").read_bytes()
    (directory / "vocab.txt").write_bytes(content.replace(b"\n", b"\r\n"))
    assert load(directory).preprocessor.vocabulary == tiny_model.preprocessor.vocabulary


def test_the_vocabulary_may_be_inside_tokenizer_json(tiny_model: MaskedLM, directory: Path) -> None:
    tokens = (directory / "vocab.txt").read_text().splitlines()
    (directory / "vocab.txt").unlink()
    model = {"type": "WordPiece", "vocab": {token: index for index, token in enumerate(tokens)}}
    path = directory / "tokenizer.json"
    path.write_text(json.dumps({"model": model}))
    assert load(directory).preprocessor.vocabulary == tiny_model.preprocessor.vocabulary
    model["vocab"][tokens[-1]] = 100
    path.write_text(json.dumps({"model": model}))
    with pytest.raises(
        ConfigError, match=r"tokenizer.json`: token ids must be 0, 1, 2.*id 100 where 20 was due"
    ):
        load(directory)
    path.write_text(json.dumps({"model": {"type": "BPE"}}))
    with pytest.raises(ConfigError, match=r"tokenizer.json` must hold a WordPiece model"):
        load(directory)


def test_special_tokens_may_be_objects_or_in_their_own_file(directory: Path) -> None:
    lines = (directory / "vocab.txt").read_text().replace("[MASK]", "<mask>")
    (directory / "vocab.txt").write_text(lines)
    values = json.loads((directory / "tokenizer_config.json").read_text())
    del values["mask_token"]
    (directory / "tokenizer_config.json").write_text(json.dumps(values))
    (directory / "special_tokens_map.json").write_text(
        json.dumps({"mask_token": {"content": "<mask>", "lstrip": False}, "unk_token": None})
    )
    assert load(directory).preprocessor.vocabulary.config.mask_token == "<mask>"
    edit_json(directory, "tokenizer_config.json", mask_token=7)
    with pytest.raises(ConfigError, match=r"`mask_token` must be a string. Received: 7"):
        load(directory)


def test_another_kind_of_tokenizer_leaves_the_weights(directory: Path) -> None:
    edit_json(directory, "tokenizer_config.json", tokenizer_class="BertJapaneseTokenizer")
    with pytest.warns(TokenizerWarning, match=r"not WordPiece .*BertJapaneseTokenizer.*token ids instead"):
        assert load(directory).preprocessor is None


# Saving.


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
