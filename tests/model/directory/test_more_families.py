"""MPNet, both RoFormers and FNet: what their files say, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reference import small_tokenizers
from reference.model_directory import edit_json

import tf_mlm
from tf_mlm.errors import ConfigError, TokenizerWarning
from tf_mlm.model.directory.config_json import read_config, write_config

SMALL: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1}


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (
            {"model_type": "mpnet", "relative_attention_num_buckets": 40},
            {"relative_buckets": 40, "position_offset": 2, "max_length": 510, "type_vocab_size": 0},
        ),
        (
            {"model_type": "roformer", "rotary_value": True},
            {"rope_values": True, "rope_interleaved": True, "rope_stored": "angles", "max_length": 1536},
        ),
        (
            {"model_type": "roformer_v2", "rope_theta": 500.0, "mlp_bias": True},
            {
                "norm": "rms",
                "norm_bias": False,
                "attention_bias": False,
                "bare_head": True,
                "rope_interleaved": True,
                "rope_stored": None,
                "hidden_act": "relu",
                "max_length": 512,
            },
        ),
        (
            {"model_type": "fnet", "use_tpu_fourier_optimizations": True},
            {"mixing": "fourier", "type_vocab_size": 4, "projects_embedding": True, "hidden_act": "gelu_new"},
        ),
    ],
    ids=lambda values: values.get("model_type"),
)
def test_settings_are_read_and_written_back(values: dict[str, Any], wanted: dict[str, Any]) -> None:
    config = read_config({"num_attention_heads": 2, **SMALL, **values})
    assert {name: getattr(config, name) for name in wanted} == wanted
    written = write_config(config)
    assert {name: written[name] for name in values} == values
    assert not {"mixing", "rope_stored", "relative_buckets", "kept_head", "norm", "bare_head"} & set(written)
    assert read_config(written) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "mpnet", "pad_token_id": 0}, r"`pad_token_id` must be 1 with model_type='mpnet'.*0"),
        (
            {"model_type": "mpnet", "relative_attention_num_buckets": 16},
            r"`relative_attention_num_buckets` must be a whole number of at least 32",
        ),
        ({"model_type": "roformer", "rotary_value": "yes"}, r"`rotary_value` must be true or false"),
        ({"model_type": "roformer", "num_attention_heads": 8}, r"an even size of each head"),
        (  # what others save RoFormerV2 as
            {"model_type": "roformer", "norm_type": "rms_norm", "use_bias": False},
            r"`norm_type` must be 'layer_norm' or absent.*'rms_norm'.*RoFormerV2.*`tf-mlm convert`",
        ),
        ({"model_type": "roformer", "use_bias": False}, r"`use_bias` must be True or absent"),
        ({"model_type": "bert", "norm_type": "rms_norm"}, r"`norm_type` must be 'layer_norm'"),
    ],
    ids=str,
)
def test_what_cannot_be_computed_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config({"num_attention_heads": 2, **SMALL, **values})


def test_chinese_words_of_jieba_are_refused_by_name(tmp_path: Path) -> None:
    small_tokenizers.write_tokenizer(tmp_path, "roformer")
    size = len(small_tokenizers.VOCABULARIES["roformer"])
    config = read_config({"model_type": "roformer", "vocab_size": size, "num_attention_heads": 2, **SMALL})
    model = tf_mlm.MaskedLM.from_config(config, seed=0)
    tf_mlm.save(model, tmp_path)
    small_tokenizers.write_tokenizer(tmp_path, "roformer")
    assert tf_mlm.load(tmp_path).preprocessor is not None
    edit_json(tmp_path, "tokenizer_config.json", tokenizer_class="RoFormerTokenizer")
    with pytest.warns(TokenizerWarning, match=r"RoFormerTokenizer, which cuts Chinese.*jieba.*BertTokenizer"):
        assert tf_mlm.load(tmp_path).preprocessor is None


def test_a_vocabulary_of_roformer_v2_is_berts_if_nothing_says_otherwise(tmp_path: Path) -> None:
    size = len(small_tokenizers.VOCABULARIES["roformer"])
    config = read_config({"model_type": "roformer_v2", "vocab_size": size, "num_attention_heads": 2, **SMALL})
    tf_mlm.save(tf_mlm.MaskedLM.from_config(config, seed=0), tmp_path)
    small_tokenizers.write_tokenizer(tmp_path, "roformer")
    (tmp_path / "tokenizer_config.json").unlink()
    model = tf_mlm.load(tmp_path)
    assert model.preprocessor is not None
    assert model.config == config
    assert len(tf_mlm.FillMask(model)("the list is [MASK].", top_k=3)) == 3


@pytest.mark.parametrize("kind", ["mpnet", "roformer", "fnet"])
@pytest.mark.peers
def test_a_saved_directory_is_whole_for_transformers(kind: str, tmp_path: Path) -> None:
    import transformers

    size = small_tokenizers.write_tokenizer(tmp_path, kind)
    values = {"model_type": kind, "vocab_size": size, "pad_token_id": small_tokenizers.padding_of(kind)}
    config = read_config({"num_attention_heads": 2, "initializer_range": 0.4, **SMALL, **values})
    from tf_mlm.model.directory.read_tokenizer import read_preprocessor

    preprocessor = read_preprocessor(tmp_path, config)
    tf_mlm.save(tf_mlm.MaskedLM.from_config(config, seed=0, preprocessor=preprocessor), tmp_path)
    _, info = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    pipeline = transformers.pipeline("fill-mask", model=str(tmp_path), tokenizer=str(tmp_path))
    text = f"the list is {small_tokenizers.mask_of(kind)} in place."
    ours, theirs = tf_mlm.FillMask(tf_mlm.load(tmp_path))(text, top_k=3), pipeline(text, top_k=3)
    assert [fill["token"] for fill in ours] == [fill["token"] for fill in theirs]
    assert [fill["sequence"] for fill in ours] == [fill["sequence"] for fill in theirs]
    assert [fill["score"] for fill in ours] == pytest.approx([fill["score"] for fill in theirs], abs=1e-5)
