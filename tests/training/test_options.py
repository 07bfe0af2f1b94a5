"""Settings are checked when they are made, and known without TensorFlow."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from tf_mlm.config import ConfigError
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
        ({"batch_size": 10, "accumulation": 4}, "`accumulation` must divide"),
        ({"length": 2}, "room for"),
        ({"layer_decay": 0.0}, r"\(0, 1\]"),
        ({"learning_rate": 0.0}, "positive"),
        ({"held_out": 0.0}, "`held_out`"),
        ({"seed": -1}, "`seed`"),
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
