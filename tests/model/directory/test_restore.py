"""Weights into a model: every spelling of the same checkpoint, and one list of all that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reference.model_directory import Tensors, assert_same, edit_json, edit_tensors

from tf_mlm.errors import CheckpointError, ConfigError, ConfigWarning, NewHeadWarning
from tf_mlm.model.directory.checkpoint import load, read_config
from tf_mlm.model.masked_lm import MaskedLM


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


def test_all_that_is_wrong_is_listed_at_once(directory: Path) -> None:
    def spoil(tensors: Tensors) -> None:
        del tensors["bert.encoder.layer.0.attention.self.key.weight"]
        tensors["bert.encoder.layer.0.output.dense.bias"] = np.zeros([3], np.float32)
        tensors["bert.encoder.layer.7.output.dense.bias"] = np.zeros([16], np.float32)

    edit_tensors(directory, spoil)
    with pytest.raises(CheckpointError) as caught:
        load(directory)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"The weights in `{directory}` do not fit `{directory / 'config.json'}`;")
    assert [line.strip() for line in lines] == [
        "missing: bert.encoder.layer.0.attention.self.key.weight, expected shape [16, 16]",
        "misshapen: bert.encoder.layer.0.output.dense.bias in model.safetensors, shape [3], expected [16]",
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
        ({"num_hidden_layers": 2}, r"missing: bert.encoder.layer.1.attention.self.query.weight"),
        (
            {"intermediate_size": 33},
            r"layer.0.intermediate.dense.weight .*shape \[32, 16\], expected \[33, 16\]",
        ),
        (
            {"max_position_embeddings": 40},
            r"position_embeddings.weight .*shape \[64, 16\], expected \[40, 16\], as "
            r"max_position_embeddings=40 says",
        ),
        ({"type_vocab_size": 3}, r"expected \[3, 16\], as type_vocab_size=3 says"),
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


def test_weights_must_be_floating_point(directory: Path) -> None:
    edit_tensors(
        directory,
        lambda tensors: tensors.update({"cls.predictions.bias": np.zeros([21], np.int8)}),
    )
    with pytest.raises(CheckpointError, match=r"Received: cls.predictions.bias of int8"):
        load(directory)


@pytest.mark.parametrize("tied", [True, False])
def test_two_biases_must_agree(tiny_model: MaskedLM, directory: Path, tied: bool) -> None:
    def both(tensors: Tensors) -> None:
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]

    edit_json(directory, tie_word_embeddings=tied)
    edit_tensors(directory, both)
    np.testing.assert_array_equal(load(directory).head.output_bias, tiny_model.head.output_bias)
    edit_tensors(
        directory, lambda tensors: tensors.update({"cls.predictions.bias": np.ones([21], np.float32)})
    )
    with pytest.raises(CheckpointError, match=r"decoder.bias` must equal `cls.predictions.bias`"):
        load(directory)


def test_the_architecture_says_the_family_where_model_type_is_missing(
    tiny_model: MaskedLM, directory: Path
) -> None:
    values = json.loads((directory / "config.json").read_text())
    del values["model_type"]
    (directory / "config.json").write_text(json.dumps(values))
    assert_same(tiny_model, load(directory))
    edit_json(directory, architectures=["XLMRobertaForMaskedLM"])
    assert read_config(directory).model_type == "xlm-roberta"
    edit_json(directory, architectures=["GPT2LMHeadModel"])
    with pytest.raises(ConfigError, match=r"or `architectures` name .*Received: model_type=None"):
        load(directory)


def test_unknown_keys_of_the_config_are_named(directory: Path) -> None:
    edit_json(directory, rotary_factor=2, id2label={"0": "x"})
    with pytest.warns(ConfigWarning, match=r"config.json`: unknown keys .*: rotary_factor\."):
        load(directory)
