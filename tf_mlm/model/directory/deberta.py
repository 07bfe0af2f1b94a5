"""DeBERTa of the second and third version.

A head has one of two sets of names. With `legacy` false it is the one that the authors trained; with true, or
without the key, transformers looks for another, which no released model has, and draws a new one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_mlm.config import ModelConfig
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.bert_families import BERT
from tf_mlm.model.directory.family import Family, fixed

_OURS = {
    "relative_parts": None,
    "relative_shared": False,
    "relative_norm": False,
    "position_buckets": None,
    "max_relative_positions": None,
}


def _read(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Relative positions in our terms.

    Raises:
        ConfigError: for a combination that is not known here.
    """
    read = dict(values)
    parts = read.pop("pos_att_type", None) or []
    parts = [part.strip() for part in parts.lower().split("|")] if isinstance(parts, str) else parts
    if not isinstance(parts, list):
        raise ConfigError(f"`pos_att_type` must be a list or a string. Received: {parts!r}.")
    is_relative = bool(read.pop("relative_attention", False))
    norm = str(read.pop("norm_rel_ebd", None) or "none").lower()
    norms = [step.strip() for step in norm.split("|")]
    if not is_relative and (parts or "layer_norm" in norms):
        raise ConfigError(
            "`pos_att_type` must be empty and `norm_rel_ebd` none where `relative_attention` is false. "
            f"Received: pos_att_type={parts!r}, norm_rel_ebd={norm!r}."
        )
    if unknown := [step for step in norms if step not in ("none", "layer_norm")]:
        raise ConfigError(f"`norm_rel_ebd` must be layer_norm or none. Received: {unknown[0]!r}.")
    if values.get("conv_groups", 1) not in (1, None):
        raise ConfigError(f"`conv_groups` must be 1. Received: {values['conv_groups']!r}.")
    hidden, heads = values.get("hidden_size") or 1536, values.get("num_attention_heads") or 24
    for key, only in (("embedding_size", hidden), ("attention_head_size", None)):
        if (value := read.pop(key, None)) not in (None, only) and (
            key == "embedding_size" or not isinstance(value, int) or value * heads != hidden
        ):
            raise ConfigError(
                f"`{key}` must be what `hidden_size` and `num_attention_heads` make it, or absent. Received: "
                f"{key}={value!r}, hidden_size={hidden!r}, num_attention_heads={heads!r}."
            )
    for key in ("position_buckets", "max_relative_positions"):
        if isinstance(read.get(key), int) and read[key] < 1:
            del read[key]
    shared = bool(read.pop("share_att_key", False))
    return {
        **read,
        "relative_parts": parts if is_relative else None,
        "relative_shared": shared,
        "relative_norm": "layer_norm" in norms,
    }


def _write(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `_read` reads."""
    written = {key: value for key, value in values.items() if key not in _OURS}
    parts = values["relative_parts"]
    return {
        **written,
        "relative_attention": parts is not None,
        "pos_att_type": list(parts or ()),
        "share_att_key": values["relative_shared"],
        "norm_rel_ebd": "layer_norm" if values["relative_norm"] else "none",
        "position_buckets": values["position_buckets"] or -1,
        "max_relative_positions": values["max_relative_positions"] or -1,
    }


DEBERTA_V2 = dataclasses.replace(
    BERT,
    architecture="DebertaV2ForMaskedLM",
    prefix="deberta.",
    encoder={
        **BERT.encoder,
        "positions.vectors.table": "encoder.rel_embeddings.weight",
        "positions.vectors.norm": "encoder.LayerNorm",
        "convolution.kernel": "encoder.conv.conv.weight",
        "convolution.bias": "encoder.conv.conv.bias",
        "convolution.norm": "encoder.conv.LayerNorm",
    },
    block={
        **BERT.block,
        "attention.query_key_value": (
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
        ),
        "attention.bias.key": ("attention.self.pos_key_proj",),
        "attention.bias.query": ("attention.self.pos_query_proj",),
    },
    copies={
        "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    unused=("embeddings.position_embeddings.",),
    keys={"position_table": "position_biased_input"},
    said={
        "relative_parts": "pos_att_type",
        "relative_shared": "share_att_key",
        "relative_norm": "norm_rel_ebd",
    },
    defaults={
        "vocab_size": 128100,
        "hidden_size": 1536,
        "num_hidden_layers": 24,
        "num_attention_heads": 24,
        "intermediate_size": 6144,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
    },
    fixed=fixed(*_OURS, "position_table", "conv_kernel_size", "conv_act"),
    read=_read,
    write=_write,
)
_AS_TRAINED = dataclasses.replace(
    DEBERTA_V2,
    head={
        "intermediate_dense": "lm_predictions.lm_head.dense",
        "intermediate_layer_norm": "lm_predictions.lm_head.LayerNorm",
    },
    decoder="lm_predictions.lm_head.decoder.weight",  # there is none: it is tied
    output_bias="lm_predictions.lm_head.bias",
    copies={},
)


def of_its_head(config: ModelConfig) -> Family:
    """The family with the names of the head that a config asks for."""
    return DEBERTA_V2 if config.extra.get("legacy", True) else _AS_TRAINED
