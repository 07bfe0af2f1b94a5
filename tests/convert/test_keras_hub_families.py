"""KerasHub's masked language models, each saved as it saves itself, as model directories."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from reference.keras_hub_presets import LENGTH, SIZES, keras_hub_model

import tf_mlm
from tf_mlm.convert.conversion import Report, convert
from tf_mlm.convert.keras_hub_families import KERAS_HUB_FAMILIES
from tf_mlm.convert.keras_hub_tokenizer import vocabulary_of
from tf_mlm.errors import ConfigError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("untraced"),
]

# The family, and what KerasHub says: the activation of layers and, where it is not the family's, of the head.
WANTED = {
    "Bert": ("bert", "gelu_new", "gelu"),
    "Roberta": ("roberta", "gelu", None),
    "XLMRoberta": ("xlm-roberta", "gelu", None),
    "DistilBert": ("distilbert", "gelu", None),
    "Albert": ("albert", "gelu_new", None),
    "FNet": ("fnet", "gelu_new", "gelu"),
    "DebertaV3": ("deberta-v2", "gelu", None),
    "RoformerV2": ("roformer_v2", "relu", None),
}
HAS_ITS_FAMILYS_HEAD = ("Roberta", "XLMRoberta")


class Converted(NamedTuple):
    model: Any
    directory: Path
    report: Report


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Converted]:
    """By the name of the class; each is made once."""

    @cache
    def made(name: str) -> Converted:
        directory = tmp_path_factory.mktemp(name)
        model = keras_hub_model(name)
        model.save_to_preset(str(directory / "source"))
        return Converted(model, directory / "model", convert(directory / "source", directory / "model"))

    return made


def test_every_class_of_keras_hub_is_converted() -> None:
    import keras_hub

    found = {name.removesuffix("MaskedLM") for name in dir(keras_hub.models) if name.endswith("MaskedLM")}
    assert found - {""} == {*KERAS_HUB_FAMILIES}
    assert set(SIZES) == set(KERAS_HUB_FAMILIES)


@pytest.mark.parametrize("name", SIZES)
def test_logits_come_over(converted: Callable[[str], Converted], name: str) -> None:
    _, directory, report = converted(name)
    assert report.kind == f"KerasHub {name}MaskedLM"
    assert report.largest_weight_difference == 0
    assert report.cases == 64
    assert report.largest_logit_difference is not None
    assert report.largest_logit_difference < 1e-4
    assert report.top1_agreement == 1
    config = tf_mlm.load(directory).config
    assert (config.model_type, config.hidden_act, config.head_hidden_act) == WANTED[name]
    assert config.max_length == LENGTH
    says = any("transformers ignores" in note for note in report.notes)
    assert says != (name in (*HAS_ITS_FAMILYS_HEAD, "RoformerV2"))


@pytest.mark.parametrize("name", SIZES)
def test_the_tokenizer_comes_over(converted: Callable[[str], Converted], name: str) -> None:
    model, directory, _ = converted(name)
    loaded, tokenizer = tf_mlm.load(directory), model.preprocessor.tokenizer
    vocabulary = loaded.preprocessor.vocabulary
    assert loaded.preprocessor.max_length == LENGTH
    assert loaded.config.pad_token_id == vocabulary.pad_id == tokenizer.pad_token_id
    given = vocabulary_of(
        tokenizer, directory, KERAS_HUB_FAMILIES[name], rows=loaded.config.vocab_size, lower_case=None
    )
    assert vocabulary.config == given.config
    assert vocabulary.unnamed_ids == given.unnamed_ids
    named = [index for index in range(vocabulary.size) if index not in given.unnamed_ids]
    assert [vocabulary.tokens[index] for index in named] == [given.tokens[index] for index in named]
    assert (vocabulary.pieces, vocabulary.merges) == (given.pieces, given.merges)
    np.testing.assert_allclose(vocabulary.scores, given.scores, rtol=1e-6)


@pytest.mark.parametrize("name", HAS_ITS_FAMILYS_HEAD)
def test_transformers_reads_the_same_model(converted: Callable[[str], Converted], name: str) -> None:
    import torch
    from transformers import AutoModelForMaskedLM

    model, directory, _ = converted(name)
    theirs = AutoModelForMaskedLM.from_pretrained(directory).eval()
    ids = np.random.default_rng(0).integers(5, 60, (2, 12))
    wanted = model(
        {
            "token_ids": ids,
            "padding_mask": np.ones_like(ids),
            "mask_positions": np.tile(np.arange(12), (2, 1)),
        }
    )
    with torch.no_grad():
        found = theirs(input_ids=torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["Roberta", "DebertaV3", "RoformerV2"])
def test_a_keras_file_is_the_same_model(
    converted: Callable[[str], Converted], name: str, tmp_path: Path
) -> None:
    converted(name).model.save(tmp_path / "source.keras")
    report = convert(tmp_path / "source.keras", tmp_path / "model")
    assert report.largest_logit_difference is not None
    assert report.largest_logit_difference < 1e-4
    ours, preset = (tf_mlm.load(path) for path in (tmp_path / "model", converted(name).directory))
    assert ours.config == preset.config
    assert ours.preprocessor.vocabulary == preset.preprocessor.vocabulary


@pytest.mark.parametrize("name", ["XLMRoberta", "FNet"])
def test_a_backbone_alone_gets_a_new_head(
    converted: Callable[[str], Converted], name: str, tmp_path: Path
) -> None:
    converted(name).model.backbone.save_to_preset(str(tmp_path / "source"))
    report = convert(tmp_path / "source", tmp_path / "model")
    assert report.kind == f"KerasHub {name}Backbone"
    assert report.head_is_new
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["model_type"] == WANTED[name][0]
    # No tokenizer says the id: it is what the family has.
    assert config["pad_token_id"] == {"XLMRoberta": 1, "FNet": 3}[name]


def test_a_roformer_v2_is_whole_without_a_head_of_its_own(
    converted: Callable[[str], Converted], tmp_path: Path
) -> None:
    converted("RoformerV2").model.backbone.save_to_preset(str(tmp_path / "source"))
    report = convert(tmp_path / "source", tmp_path / "model")
    assert (report.kind, report.head_is_new) == ("KerasHub RoformerV2Backbone", False)
    ours, theirs = (tf_mlm.load(path) for path in (tmp_path / "model", converted("RoformerV2").directory))
    assert [variable.name for variable in ours.head.variables] == ["embeddings:0"]
    for one, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    assert ours.config.max_length == 512  # the backbone says none


def test_groups_of_several_layers_are_refused(tmp_path: Path) -> None:
    keras_hub_model("Albert", preprocessor=False, num_inner_repetitions=2).save_to_preset(
        str(tmp_path / "source")
    )
    with pytest.raises(ConfigError, match=r"`num_inner_repetitions` must be 1 for a AlbertBackbone.* 2\."):
        convert(tmp_path / "source", tmp_path / "model")


def test_the_last_bucket_that_keras_hub_rounds_otherwise_is_named(tmp_path: Path) -> None:
    """In KerasHub's order of operations the distance 511 with 64 buckets is one ulp beyond the last."""
    model = keras_hub_model("DebertaV3", preprocessor=False, max_sequence_length=512, bucket_size=64)
    model.save_to_preset(str(tmp_path / "source"))
    report = convert(tmp_path / "source", tmp_path / "model")
    assert any("KerasHub rounds 1 of the distances" in note for note in report.notes)


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_heads": 3, "head_size": 10, "hidden_dim": 30, "intermediate_dim": 47, "num_segments": 3},
        {"num_layers": 1, "use_bias": True, "activation": "gelu", "max_wavelength": 10_000},
    ],
    ids=["odd", "biases"],
)
def test_roformer_v2_of_other_sizes(sizes: dict[str, Any], tmp_path: Path) -> None:
    keras_hub_model("RoformerV2", **sizes).save_to_preset(str(tmp_path / "source"))
    report = convert(tmp_path / "source", tmp_path / "model")
    assert report.largest_logit_difference is not None
    assert report.largest_logit_difference < 1e-5
    assert (report.top1_agreement, report.largest_weight_difference) == (1, 0)
    config = tf_mlm.load(tmp_path / "model").config
    assert config.attention_bias == config.mlp_bias == sizes.get("use_bias", False)
    assert config.type_vocab_size == sizes.get("num_segments", 2)


def test_what_roformer_v2_pads_with_is_read_in_keras_hub_alone(
    converted: Callable[[str], Converted],
) -> None:
    """As the notes say: where KerasHub mends it, they can go."""
    model, directory, report = converted("RoformerV2")
    assert any("see the padding behind their text" in note for note in report.notes)
    ids = np.random.default_rng(0).integers(5, 60, (1, 9))
    padded = np.pad(ids, ((0, 0), (0, 11)))
    inputs = {"segment_ids": np.zeros([1, 20], int), "mask_positions": np.array([[1, 3]])}
    alone = model({**inputs, "token_ids": ids, "segment_ids": np.zeros([1, 9], int)})
    assert np.abs(alone - model({**inputs, "token_ids": padded})).max() > 0.1
    ours = tf_mlm.load(directory)(padded, np.array([9]), inputs["segment_ids"], inputs["mask_positions"])
    np.testing.assert_allclose(ours, alone, atol=1e-5)


def test_roformer_v2_takes_the_id_0_for_padding(tmp_path: Path) -> None:
    import keras_hub

    tokens = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    tokenizer = keras_hub.models.RoformerV2Tokenizer(vocabulary=tokens)
    model = keras_hub_model("RoformerV2", preprocessor=False)
    prepare = keras_hub.models.RoformerV2MaskedLMPreprocessor(tokenizer, sequence_length=LENGTH)
    keras_hub.models.RoformerV2MaskedLM(model.backbone, prepare).save_to_preset(str(tmp_path / "source"))
    with pytest.raises(ConfigError, match=r"`pad_token_id` must be 0 for a RoformerV2Backbone.* 1\."):
        convert(tmp_path / "source", tmp_path / "model")
    assert not (tmp_path / "model").exists()
