"""A model for longer texts: its weights, slower angles where all of a text is seen, and files that say so."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tf_mlm
from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.config_json import read_config
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.training.context_extension import extended, longer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.run.trainer import train

pytestmark = pytest.mark.usefixtures("all_interpreted")

LONGER = TrainConfig(length=48)
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": 0,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
}


def _of(model_type: str, **more: Any) -> ModelConfig:
    return read_config({"model_type": model_type, **SIZES, **more})


def _logits(model: MaskedLM, length: int) -> np.ndarray:
    ids = np.random.default_rng(0).integers(5, 40, (2, length))
    return model(ids, [length] * 2, None, [[1, 5], [2, length - 1]]).numpy()


ESM = _of("esm", position_embedding_type="rotary")
MODERN = _of("modernbert", global_rope_theta=10_000.0, local_attention=8)


EVERY_KIND = [MODERN, ESM, _of("roformer"), _of("roformer_v2")]


@pytest.mark.parametrize("config", EVERY_KIND, ids=lambda config: config.model_type)
def test_with_the_same_angles_what_was_known_stays_as_it_was(config: ModelConfig) -> None:
    model = MaskedLM.from_config(config, seed=3)
    found = extended(model, dataclasses.replace(LONGER, seed=9))
    assert found.config.max_length == 48
    assert found.config.rope_theta == config.rope_theta
    np.testing.assert_array_equal(_logits(found, 32), _logits(model, 32))
    assert np.isfinite(_logits(found, 48)).all()


def test_only_layers_that_see_all_of_a_text_turn_slower() -> None:
    model = MaskedLM.from_config(MODERN, seed=3)
    found = extended(model, dataclasses.replace(LONGER, rope_theta=160_000.0))
    assert (found.config.rope_theta, found.config.local_rope_theta) == (160_000.0, 10_000.0)
    assert dataclasses.replace(found.config, rope_theta=1e4, max_position_embeddings=32) == model.config
    assert np.abs(_logits(found, 32) - _logits(model, 32)).max() > 1e-3


def test_frequencies_among_the_weights_follow_the_base() -> None:
    model = MaskedLM.from_config(ESM, seed=3)
    model.encoder.positions.rotary.stored.assign([1.0, 0.1, 0.01, 0.0005])  # rounded, as in older files
    same = extended(model, LONGER).encoder.positions.rotary.stored
    np.testing.assert_allclose(same, [1.0, 0.1, 0.01, 0.0005])
    slower = extended(
        model, dataclasses.replace(LONGER, rope_theta=160_000.0)
    ).encoder.positions.rotary.stored
    np.testing.assert_allclose(slower, [1.0, 0.05, 0.0025, 0.000125], rtol=1e-6)


@pytest.mark.parametrize(
    ("length", "own", "given", "theta"),
    [
        (48, 1e4, None, 1e4),
        (2048, 1e4, None, 1.6e5),
        (2048, 1e6, None, 1e6),
        (2048, 1e4, 5e4, 5e4),
        (32, 1e4, 5e4, 5e4),
        (16, 1e4, None, 1e4),
    ],
)
def test_the_base_grows_with_the_length(length: int, own: float, given: float | None, theta: float) -> None:
    sizes = dataclasses.replace(MODERN, rope_theta=own)
    found = longer(sizes, TrainConfig(length=length, rope_theta=given))
    assert (found.rope_theta, found.max_length) == (theta, max(32, length))


def test_a_length_that_nobody_asked_for_extends_nothing() -> None:
    assert longer(MODERN, TrainConfig(architecture="modernbert")) == MODERN


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (_of("bert"), {"length": 48}, r"Only rotary positions.*length=48 and a bert with positions for 32"),
        (_of("bert"), {"length": 32, "rope_theta": 5e4}, r"Received: rope_theta=50000.0 and a bert"),
        (_of("deberta-v2"), {"length": 48}, r"a deberta-v2 with positions for 32"),
        (
            _of("roformer"),
            {"length": 32, "rope_theta": 5e4},
            r"`rope_theta` must be 10000.0 with model_type='roformer'",
        ),
    ],
    ids=["length", "angles", "no table", "fixed"],
)
def test_what_cannot_reach_further_is_refused(
    config: ModelConfig, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        extended(MaskedLM.from_config(config, seed=0), TrainConfig(**settings))


@pytest.fixture(scope="module")
def short(corpus: Path, small: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("short")
    config = dataclasses.replace(
        small, architecture="modernbert", vocabulary_size=300, layers=2, steps=2, hidden_size=16
    )
    train([corpus], output, config, compile=False)
    return output


@pytest.fixture(scope="module")
def long_config(small: TrainConfig) -> TrainConfig:
    return dataclasses.replace(small, steps=4, length=64, batch_size=4, rope_theta=160_000.0)


@pytest.fixture(scope="module")
def long(
    corpus: Path, short: Path, long_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("long")
    train([corpus], output, long_config, from_directory=short, compile=False)
    return output


def test_the_directory_says_what_the_model_has_now(short: Path, long: Path) -> None:
    before, after = (json.loads((path / "config.json").read_text()) for path in (short, long))
    full, sliding = (after["rope_parameters"][name] for name in ("full_attention", "sliding_attention"))
    assert (before["max_position_embeddings"], after["max_position_embeddings"]) == (16, 64)
    assert before["rope_parameters"]["full_attention"]["rope_theta"] == 10_000.0
    assert (full["rope_theta"], sliding["rope_theta"]) == (160_000.0, 10_000.0)
    assert json.loads((long / "tokenizer_config.json").read_text())["model_max_length"] == 64
    preprocessor = tf_mlm.load(long).preprocessor
    assert isinstance(preprocessor, TextPreprocessor)
    assert preprocessor.max_length == 64


def test_a_resumed_run_keeps_its_base(
    corpus: Path, short: Path, long: Path, long_config: TrainConfig
) -> None:
    assert train([corpus], long, long_config, from_directory=short, compile=False).finished
    other = dataclasses.replace(long_config, rope_theta=20_000.0)
    with pytest.raises(ConfigError, match=r"`model.rope_theta` was 160000.0 and is now 20000.0"):
        train([corpus], long, other, from_directory=short, compile=False)


def test_a_run_without_a_length_is_told_the_limit(corpus: Path, short: Path, tmp_path: Path) -> None:
    config = TrainConfig(steps=1, strategy="cpu", held_out=0.1)
    with pytest.raises(ConfigError, match="must not exceed the model's 16 positions"):
        train([corpus], tmp_path, config, from_directory=short, compile=False)


@pytest.mark.peers
def test_transformers_reads_it_and_answers_alike(long: Path) -> None:
    import torch
    import transformers

    theirs = transformers.AutoModelForMaskedLM.from_pretrained(long).eval()
    ours = tf_mlm.load(long)
    ids = np.random.default_rng(1).integers(5, ours.config.vocab_size, (2, 64))
    with torch.no_grad():
        wanted = theirs(torch.tensor(ids), attention_mask=torch.ones(2, 64)).logits.numpy()
    positions = np.tile(np.arange(64), (2, 1))
    np.testing.assert_allclose(ours(ids, [64, 64], None, positions), wanted, atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(long)
    assert tokenizer.model_max_length == 64
