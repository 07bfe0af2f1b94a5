"""What families of encoders differ in: the named switches of a `ModelConfig`, and what they may say."""

from __future__ import annotations

from typing import Any

from tf_mlm.config.rules import require, require_bool, require_positive, require_whole

LAYER_TYPES = ("full_attention", "sliding_attention")
ROPE_STORED = (None, "frequencies", "angles")
MIXING = ("attention", "fourier")
NORMS = ("layer", "rms")
RELATIVE_PARTS = ("c2p", "p2c")
KEPT_HEADS = (None, "contacts", "pooler")
SWITCHES = (
    "embedding_size",
    "norm_position",
    "norm",
    "gated",
    "norm_bias",
    "attention_bias",
    "mlp_bias",
    "head_bias",
    "bare_head",
    "rope_theta",
    "local_rope_theta",
    "layer_types",
    "local_attention",
    "num_hidden_groups",
    "embedding_projection",
    "first_norm",
    "embedding_norm",
    "dropped_token_id",
    "kept_head",
    "rope_stored",
    "rope_interleaved",
    "rope_values",
    "relative_buckets",
    "mixing",
    "position_table",
    "relative_parts",
    "relative_shared",
    "relative_norm",
    "position_buckets",
    "max_relative_positions",
    "conv_kernel_size",
    "conv_act",
)
"""The fields of `ModelConfig` that families differ in; each is BERT's by default."""


def check_switches(config: Any) -> None:
    """Raises a `ConfigError` for switches of a `ModelConfig` that say nothing, or contradict each other."""
    for name in (
        *("tie_word_embeddings", "gated", "embedding_projection", "first_norm"),
        *("norm_bias", "attention_bias", "mlp_bias", "head_bias", "bare_head"),
        *("embedding_norm", "rope_interleaved", "rope_values"),
        *("position_table", "relative_shared", "relative_norm"),
    ):
        require_bool(name, getattr(config, name))
    require(
        config.norm_position in ("post", "pre"),
        "`norm_position` must be post or pre.",
        norm_position=config.norm_position,
    )
    require_whole("local_attention", config.local_attention, least=0)
    _check_int32(config, "local_attention")
    if config.layer_types is not None:
        types = config.layer_types
        require(
            isinstance(types, list | tuple)
            and len(types) == config.num_hidden_layers
            and all(each in LAYER_TYPES for each in types),
            f"`layer_types` must name one of {', '.join(LAYER_TYPES)} for each of the "
            f"{config.num_hidden_layers} layers of `num_hidden_layers`.",
            layer_types=types,
        )
        object.__setattr__(config, "layer_types", tuple(types))
    for name in ("rope_theta", "local_rope_theta"):
        if getattr(config, name) is not None:
            require_positive(name, getattr(config, name))
    require(
        config.rope_theta is None or config.head_size % 2 == 0,
        "Rotary positions need an even size of each head, `hidden_size / num_attention_heads`.",
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
    )
    for name, values in (
        *(("norm", NORMS), ("rope_stored", ROPE_STORED), ("mixing", MIXING), ("kept_head", KEPT_HEADS)),
    ):
        value = getattr(config, name)
        shown = ", ".join(str(each) for each in values)
        require(value in values, f"`{name}` must be one of {shown}.", **{name: value})
    _check_norms_and_head(config)
    _check_relative(config)
    if config.dropped_token_id is not None:
        require_whole("dropped_token_id", config.dropped_token_id, least=0)
        require(
            config.dropped_token_id < config.vocab_size,
            "`dropped_token_id` must be an id of the vocabulary.",
            dropped_token_id=config.dropped_token_id,
            vocab_size=config.vocab_size,
        )
    if config.relative_buckets is not None:
        require_whole("relative_buckets", config.relative_buckets, least=32)
    _check_groups(config)


def _check_groups(config: Any) -> None:
    if config.num_hidden_groups is None:
        return
    require_whole("num_hidden_groups", config.num_hidden_groups, least=1)
    require(
        config.num_hidden_groups <= config.num_hidden_layers,
        "`num_hidden_groups` must be at most `num_hidden_layers`: a group is one layer or several.",
        num_hidden_groups=config.num_hidden_groups,
        num_hidden_layers=config.num_hidden_layers,
    )
    require(
        config.layer_types is None and (config.norm_position == "post" or config.first_norm),
        "Layers that share their weights must be alike: with `num_hidden_groups`, `layer_types` must "
        "be None, and `first_norm` true where `norm_position` is pre.",
        layer_types=config.layer_types,
        first_norm=config.first_norm,
    )


def _check_int32(config: Any, name: str) -> None:
    value = getattr(config, name)
    require(value < 1 << 31, f"`{name}` must be less than 2 to the power of 31.", **{name: value})


def _check_norms_and_head(config: Any) -> None:
    require(
        config.norm == "layer" or not config.norm_bias,
        "`norm_bias` must be false where `norm` is rms, which adds nothing.",
        norm=config.norm,
        norm_bias=config.norm_bias,
    )
    require(
        not config.bare_head or config.token_embedding_size == config.hidden_size,
        "`embedding_size` must be `hidden_size` with a `bare_head`, which projects what that size has.",
        embedding_size=config.embedding_size,
        hidden_size=config.hidden_size,
    )


def _check_relative(config: Any) -> None:
    if config.relative_parts is not None:
        parts = config.relative_parts
        require(
            isinstance(parts, list | tuple)
            and all(each in RELATIVE_PARTS and parts.count(each) == 1 for each in parts),
            f"`relative_parts` must be of {', '.join(RELATIVE_PARTS)}, each at most once.",
            relative_parts=parts,
        )
        object.__setattr__(config, "relative_parts", tuple(parts))
    for name in ("position_buckets", "max_relative_positions"):
        if getattr(config, name) is not None:
            require_whole(name, getattr(config, name), least=2)
            _check_int32(config, name)
    require_whole("conv_kernel_size", config.conv_kernel_size, least=0)
    require(
        not config.conv_kernel_size or (config.conv_kernel_size % 2 == 1 and config.num_hidden_layers > 1),
        "`conv_kernel_size` must be odd, and stand between two layers.",
        conv_kernel_size=config.conv_kernel_size,
        num_hidden_layers=config.num_hidden_layers,
    )
