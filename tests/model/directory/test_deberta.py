"""DeBERTa's settings, the two names of its head, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reference import unigram
from reference.model_directory import Tensors, assert_same, edit_json, edit_tensors

import tf_mlm
from tf_mlm.errors import ConfigError, NewHeadWarning, TokenizerWarning
from tf_mlm.model.directory.config_json import read_config, unknown_keys, write_config

SMALL: dict[str, Any] = {
    "model_type": "deberta-v2",
    "vocab_size": 40,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 20,
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
}
THIRD = {
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "max_relative_positions": -1,
    "position_biased_input": False,
}


def test_the_third_version_in_our_terms() -> None:
    config = read_config({**SMALL, **THIRD})
    assert (config.relative_parts, config.relative_shared, config.relative_norm) == (
        ("p2c", "c2p"),
        True,
        True,
    )
    assert (config.position_buckets, config.max_relative_positions) == (8, None)
    assert (config.has_position_table, config.max_length, config.layer_norm_eps) == (False, 20, 1e-7)
    written = write_config(config)
    assert {name: written[name] for name in THIRD} == THIRD
    assert written["pos_att_type"] == ["p2c", "c2p"]
    assert read_config(written) == config
    assert not unknown_keys(config)
    assert not {"relative_parts", "relative_shared", "position_table"} & set(written)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"relative_attention": False}, r"`pos_att_type` must be empty.*'p2c', 'c2p'"),
        ({"pos_att_type": ["c2p", "p2p"]}, r"`pos_att_type` must be of c2p, p2c.*pos_att_type=.*'p2p'"),
        ({"pos_att_type": 5}, r"`pos_att_type` must be a list or a string.*5"),
        ({"max_relative_positions": 10**40}, r"`max_relative_positions` must be less than"),
        ({"conv_kernel_size": 3, "conv_act": "mystery"}, r"`conv_act` must be one of gelu.*'mystery'"),
        ({"norm_rel_ebd": "group_norm"}, r"`norm_rel_ebd` must be layer_norm or none.*'group_norm'"),
        ({"conv_kernel_size": 3, "conv_groups": 2}, r"`conv_groups` must be 1"),
        ({"conv_kernel_size": 4}, r"`conv_kernel_size` must be odd"),
        ({"conv_kernel_size": 3, "num_hidden_layers": 1}, r"stand between two layers"),
        ({"embedding_size": 4}, r"`embedding_size` must be what `hidden_size`"),
        ({"attention_head_size": 8}, r"`attention_head_size` must be what `hidden_size`"),
    ],
    ids=str,
)
def test_what_cannot_be_computed_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config({**SMALL, **values})


def test_the_head_has_the_names_that_the_config_asks_for(tmp_path: Path) -> None:
    config = read_config({**SMALL, "legacy": False, "initializer_range": 0.3})
    model = tf_mlm.MaskedLM.from_config(config, seed=1)
    tf_mlm.save(model, tmp_path)
    names: set[str] = set()
    edit_tensors(tmp_path, lambda tensors: names.update(tensors))
    assert {name for name in names if not name.startswith("deberta.")} == {
        *(f"lm_predictions.lm_head.{part}" for part in ("bias", "dense.weight", "dense.bias")),
        *(f"lm_predictions.lm_head.LayerNorm.{part}" for part in ("weight", "bias")),
    }
    assert_same(model, tf_mlm.load(tmp_path))

    def as_released(tensors: Tensors) -> None:
        tensors["mask_predictions.dense.weight"] = tensors["lm_predictions.lm_head.dense.weight"]

    edit_tensors(tmp_path, as_released)
    assert_same(model, tf_mlm.load(tmp_path))
    edit_json(tmp_path, legacy=True)  # as in the files of the third version: what transformers looks for
    with pytest.warns(NewHeadWarning, match=r"ignored: lm_predictions\.lm_head.*mask_predictions"):
        tf_mlm.load(tmp_path)


def test_punctuation_that_is_split_off_is_refused(tmp_path: Path) -> None:
    unigram.write_tokenizer(tmp_path, "deberta-v2")
    tf_mlm.save(tf_mlm.MaskedLM.from_config(read_config({**SMALL, "vocab_size": 1001}), seed=1), tmp_path)
    unigram.write_tokenizer(tmp_path, "deberta-v2")
    assert tf_mlm.load(tmp_path).preprocessor is not None
    edit_json(tmp_path, "tokenizer_config.json", split_by_punct=True)
    with pytest.warns(TokenizerWarning, match=r"`split_by_punct` must be false"):
        assert tf_mlm.load(tmp_path).preprocessor is None
