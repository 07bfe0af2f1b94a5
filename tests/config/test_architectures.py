"""What new models of each family are made with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tf_mlm.config.architectures import ARCHITECTURES, KINDS, Sizes, kind_of
from tf_mlm.errors import ConfigError


def sizes(length: int = 128, layers: int = 4, pad_id: int = 1) -> Sizes:
    return Sizes(length, layers, hidden_size=64, pad_id=pad_id, cls_id=0, sep_id=2)


def test_each_architecture_has_a_kind_and_reads_text_by_it() -> None:
    assert {each.kind for each in ARCHITECTURES.values()} == set(KINDS)
    for each in ARCHITECTURES.values():
        assert kind_of(each.tokenizer) == each.kind


def test_robertas_positions_begin_behind_its_padding() -> None:
    settings = ARCHITECTURES["roberta"].settings
    assert settings(sizes(512))["max_position_embeddings"] == 514  # as roberta-base has it
    assert settings(sizes(512, pad_id=0))["max_position_embeddings"] == 513
    with pytest.raises(ConfigError, match=r"whose id must be small.*the id 50283 for rows of 512"):
        settings(sizes(512, pad_id=50283))


@pytest.mark.parametrize(
    ("length", "window", "theta"), [(16, 16, 1e4), (65, 64, 1e4), (1024, 128, 1e4), (8192, 128, 1.6e5)]
)
def test_modernberts_window_and_angles_follow_the_length(length: int, window: int, theta: float) -> None:
    settings = ARCHITECTURES["modernbert"].settings(sizes(length, layers=5))
    assert (settings["local_attention"], settings["rope_theta"]) == (window, theta)
    assert settings["local_rope_theta"] == 1e4
    full = [index for index, each in enumerate(settings["layer_types"]) if each == "full_attention"]
    assert (full, len(settings["layer_types"])) == ([0, 3], 5)


def test_a_listing_of_them_loads_no_tensorflow() -> None:
    program = "import sys, tf_mlm.config.architectures; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
