"""KerasHub's `BertMaskedLM`, saved as it saves itself, as a model directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.foreign_checkpoints import TOKENS, VOCAB, keras_hub_masked_lm

import tf_mlm
from tf_mlm.convert import keras_hub_model
from tf_mlm.convert.conversion import convert
from tf_mlm.errors import CheckpointError, ConfigError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("untraced"),
]


@pytest.fixture(scope="module")
def original() -> Any:
    return keras_hub_masked_lm()


@pytest.mark.parametrize("kind", ["preset", "keras"])
def test_logits_and_vocabulary_come_over(original: Any, kind: str, tmp_path: Path) -> None:
    source = tmp_path / ("source.keras" if kind == "keras" else "source")
    original.save(source) if kind == "keras" else original.save_to_preset(str(source))
    report = convert(source, tmp_path / "model")
    assert report.kind == "KerasHub BertMaskedLM"
    assert report.largest_weight_difference == 0
    assert report.cases == 64
    assert report.largest_logit_difference < 1e-5
    assert report.top1_agreement == 1
    assert any("transformers ignores" in note for note in report.notes)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["hidden_act"], config["head_hidden_act"]) == ("gelu_new", "gelu")
    assert (config["layer_norm_eps"], config["head_layer_norm_eps"]) == (1e-12, 1e-5)
    loaded = tf_mlm.load(tmp_path / "model")
    assert loaded.preprocessor.vocabulary.tokens == tuple(TOKENS)
    assert loaded.preprocessor.vocabulary.config.do_lower_case
    fills = tf_mlm.FillMask(loaded)("The cat [MASK].", top_k=3)
    assert [fill["token"] for fill in fills] == _keras_top(original, "The cat [MASK].", 3)


def _keras_top(model: Any, text: str, k: int) -> list[int]:
    """The best fills by KerasHub's own tokenizer and model."""
    tokenizer = model.preprocessor.tokenizer
    words = [int(token) for token in np.asarray(tokenizer(text.split("[MASK]")[0].strip()))]
    ids = [2, *words, 4, tokenizer.token_to_id("."), 3]
    inputs = {
        "token_ids": np.array([ids]),
        "segment_ids": np.zeros([1, len(ids)], np.int32),
        "padding_mask": np.ones([1, len(ids)], np.int32),
        "mask_positions": np.array([[1 + len(words)]]),
    }
    return np.argsort(-np.asarray(model(inputs))[0, 0])[:k].tolist()


def test_a_backbone_alone_gets_a_new_head(original: Any, tmp_path: Path) -> None:
    original.backbone.save_to_preset(str(tmp_path / "source"))
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(TOKENS) + "\n")
    report = convert(tmp_path / "source", tmp_path / "model", vocabulary=vocabulary)
    assert report.kind == "KerasHub BertBackbone"
    assert report.head_is_new
    assert report.largest_logit_difference is None
    assert tf_mlm.load(tmp_path / "model").preprocessor.vocabulary.size == VOCAB


def test_a_model_without_a_preprocessor_says_that_a_vocabulary_is_missing(tmp_path: Path) -> None:
    keras_hub_masked_lm(preprocessor=False).save_to_preset(str(tmp_path / "source"))
    report = convert(tmp_path / "source", tmp_path / "model")
    assert any("no vocabulary" in note for note in report.notes)
    assert not (tmp_path / "model" / "vocab.txt").exists()
    assert tf_mlm.load(tmp_path / "model").preprocessor is None


def test_what_is_no_masked_lm_is_refused(tmp_path: Path) -> None:
    import keras

    keras.Sequential([keras.Input([2]), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(ConfigError, match=r"Only KerasHub's BertMaskedLM.*Received: Sequential in"):
        convert(tmp_path / "other.keras", tmp_path / "model")
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"broken.keras` is not a readable KerasHub checkpoint"):
        convert(tmp_path / "broken.keras", tmp_path / "model")


def test_without_keras_hub_the_install_line_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "model.keras").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs keras-hub: run `pip install 'tf-mlm\[keras-hub\]'`"
    ):
        keras_hub_model.read(tmp_path / "model.keras", None)
