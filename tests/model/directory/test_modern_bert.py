"""ModernBERT's settings in the forms that older and newer files have them."""

from __future__ import annotations

from typing import Any

import pytest

from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.config_json import read_config, write_config

FULL, SLIDING = "full_attention", "sliding_attention"
SMALL = {"model_type": "modernbert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 4}


def test_what_is_not_said_is_as_in_transformers() -> None:
    config = read_config(SMALL)
    assert config.layer_types == (FULL, SLIDING, SLIDING, FULL)
    assert (config.rope_theta, config.local_rope_theta, config.local_attention) == (160_000, 10_000, 128)
    assert (config.norm_position, config.gated, config.type_vocab_size) == ("pre", True, 0)
    assert not any((config.norm_bias, config.attention_bias, config.mlp_bias, config.head_bias))
    assert config.max_length == 8192


@pytest.mark.parametrize(
    "values",
    [
        {"global_attn_every_n_layers": 2, "global_rope_theta": 50.0, "local_rope_theta": 20},
        {
            "layer_types": [FULL, SLIDING] * 2,
            "rope_parameters": {
                FULL: {"rope_type": "default", "rope_theta": 50},
                SLIDING: {"rope_theta": 20},
            },
        },
    ],
    ids=["older", "newer"],
)
def test_both_forms_say_the_same_and_are_written_back(values: dict[str, Any]) -> None:
    config = read_config({**SMALL, **values})
    assert config.layer_types == (FULL, SLIDING) * 2
    assert (config.rope_theta, config.local_rope_theta) == (50, 20)
    written = write_config(config)
    assert written["rope_parameters"][SLIDING] == {"rope_type": "default", "rope_theta": 20}
    assert written["layer_types"] == [FULL, SLIDING] * 2
    for name in ("global_rope_theta", "local_rope_theta"):
        assert written.get(name) == values.get(name)
    assert not {"rope_theta", "norm_position", "gated", "type_vocab_size"} & set(written)
    assert read_config(written) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layer_types": [FULL]}, r"`layer_types` must name one of .* for each of the 4 layers"),
        ({"layer_types": ["chunked_attention"] * 4}, r"full_attention, sliding_attention"),
        (
            {"rope_parameters": {FULL: {"rope_type": "yarn"}}},
            r"rope_type` must be default.*yarn",
        ),
        ({"rope_parameters": [1]}, r"`rope_parameters` must be an object"),
        ({"rope_scaling": {"factor": 2}}, r"`rope_scaling` must be null"),
        ({"decoder_bias": False}, r"`decoder_bias` must be true"),
        ({"global_rope_theta": -1.0}, r"`global_rope_theta` must be positive"),
        (
            {"rope_parameters": {SLIDING: {"rope_theta": "ten"}}},
            r"`rope_parameters.sliding_attention.rope_theta` must be a number.*'ten'",
        ),
        ({"layer_types": 7}, r"`layer_types` must name one of .*layer_types=7"),
        ({"global_attn_every_n_layers": 0}, r"`global_attn_every_n_layers` must be .* at least 1.*=0"),
        ({"num_hidden_layers": 10**20}, r"`num_hidden_layers` must be at most 10,000.*=1000000"),
        ({"local_attention": 10**20}, r"`local_attention` must be less than 2 to the power of 31"),
        ({"hidden_size": 6}, r"an even size of each head"),
        ({"hidden_activation": "mystery"}, r"`hidden_activation` must be one of.*mystery"),
    ],
    ids=str,
)
def test_what_cannot_be_computed_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config({**SMALL, **values})
