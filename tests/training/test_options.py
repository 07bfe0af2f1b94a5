"""Settings are checked when they are made, and known without TensorFlow."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from tf_mlm.errors import ConfigError
from tf_mlm.training.options import TrainConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1"),
        ({"mask_rate": 1.2}, r"`mask_rate` must lie between 0 and 1.*1\.2"),
        ({"mask_token_rate": 0.9, "random_token_rate": 0.2}, "add up to at most 1"),
        ({"steps": 10, "minutes": 1.0}, "not both"),
        ({"train": "last"}, "all, head or last:N"),
        ({"strategy": "gpus"}, "must be one of auto, cpu"),
        ({"architecture": "gpt2"}, "`architecture` must be one of bert, roberta, modernbert"),
        ({"batch_size": 10, "accumulation": 4}, "`accumulation` must divide"),
        ({"length": 2}, "room for"),
        ({"layer_decay": 0.0}, r"\(0, 1\]"),
        ({"learning_rate": 0.0}, "positive"),
        ({"held_out": 0.0}, "`held_out`"),
        ({"seed": -1}, "`seed`"),
        ({"steps": 0}, "at least 1"),
        ({"steps": 2.5}, "`steps` must be a whole number"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be a finite number"),
        ({"learning_rate": float("inf")}, "`learning_rate` must be a finite number"),
        ({"learning_rate": "fast"}, "`learning_rate` must be a finite number"),
        ({"minutes": float("inf")}, "`minutes` must be a finite number"),
        ({"weight_decay": float("inf")}, "`weight_decay` must be a finite number"),
        ({"mask_rate": True}, "`mask_rate` must be a finite number"),
        ({"held_out": None}, "`held_out` must be a finite number"),
        ({"rope_theta": 0.0}, "`rope_theta` must be positive"),
        ({"whole_word": 1}, "`whole_word` must be true or false"),
        ({"train": 3}, "`train` must be a string"),
        ({"text_field": None}, "`text_field` must be a string"),
        ({"until_top_1": 42}, "`until_top_1` must lie between 0 and 1"),
        ({"within_minutes": 0}, "`within_minutes` must be positive"),
        ({"dropout": 1.0}, "`dropout`"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


def test_every_setting_has_help() -> None:
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(TrainConfig))


def test_tensorflow_is_not_imported() -> None:
    code = "import sys, tf_mlm.training.options; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
