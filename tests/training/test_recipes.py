"""The defaults of each architecture: BERT's for all that it does not say, and what was given before all."""

from __future__ import annotations

import dataclasses

import pytest
from click.testing import CliRunner

from tf_mlm.cli.train import command
from tf_mlm.config.architectures import ARCHITECTURES
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.recipes import RECIPES

NAMES = ("length", "mask_rate", "optimizer", "schedule", "weight_decay", "beta_2", "clip_norm")
WANTED = {
    None: (128, 0.15, "adamw", "linear", 0.01, 0.98, 1.0),
    "bert": (128, 0.15, "adamw", "linear", 0.01, 0.98, 1.0),
    "roberta": (512, 0.15, "adamw", "linear", 0.01, 0.98, 0.0),
    "modernbert": (1024, 0.3, "stableadamw", "wsd", 1e-5 / 8e-4, 0.98, 0.0),
    "albert": (512, 0.15, "lamb", "linear", 0.01, 0.999, 1.0),
}


@pytest.mark.parametrize("architecture", WANTED)
def test_each_has_its_own(architecture: str | None) -> None:
    config = TrainConfig(architecture=architecture)
    assert tuple(getattr(config, name) for name in NAMES) == pytest.approx(WANTED[architecture])
    assert config.left_open == set(NAMES)


def test_they_are_those_of_architectures_and_settings() -> None:
    assert set(RECIPES) == set(ARCHITECTURES)
    assert {name for recipe in RECIPES.values() for name in recipe} == set(RECIPES["bert"])
    assert set(RECIPES["bert"]) <= {field.name for field in dataclasses.fields(TrainConfig)}


def test_what_is_given_wins_and_stays() -> None:
    config = TrainConfig(architecture="modernbert", mask_rate=0.15, clip_norm=1.0)
    assert (config.mask_rate, config.clip_norm, config.optimizer) == (0.15, 1.0, "stableadamw")
    assert config.left_open == set(NAMES) - {"mask_rate", "clip_norm"}
    other = dataclasses.replace(config, architecture="bert")
    assert other.optimizer == "stableadamw"
    assert not other.left_open


def test_help_says_them() -> None:
    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "[default: 0.15, modernbert 0.3]" in text
    assert "[default: adamw, modernbert stableadamw, albert lamb]" in text
    assert "[default: 0.9]" in text  # of a setting that all share
