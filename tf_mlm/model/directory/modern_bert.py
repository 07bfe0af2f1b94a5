"""ModernBERT, whose `config.json` says in a form of its own what each layer attends to, and positions.

Since transformers 5 it has `layer_types` and `rope_parameters`; older ones have the distance of the layers
that attend to everything, and a theta for each kind of layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_mlm.config.rules import require, require_positive, require_whole
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.family import Family, fixed

FULL, SLIDING = "full_attention", "sliding_attention"
# For each kind of layer our name, the older one in the file, and the default.
_THETAS = {
    FULL: ("rope_theta", "global_rope_theta", 160_000.0),
    SLIDING: ("local_rope_theta", "local_rope_theta", 10_000.0),
}
_LAYERS, _MOST_LAYERS = 22, 10_000


def _read(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`layer_types` and the two thetas, in whichever form the file has them.

    Raises:
        ConfigError: for angles of another kind, or a projection without a bias.
    """
    read = dict(values)
    if values.get("decoder_bias") is False:
        raise ConfigError("`decoder_bias` must be true or absent. Received: decoder_bias=False.")
    if values.get("layer_types") is None:
        read["layer_types"] = _layer_types(values)
    if values.get("rope_scaling"):
        raise ConfigError(f"`rope_scaling` must be null or absent. Received: {values['rope_scaling']!r}.")
    parameters = values.get("rope_parameters") or {}
    for kind, (name, older, default) in _THETAS.items():
        of_kind = parameters.get(kind) if isinstance(parameters, Mapping) else None
        if not isinstance(of_kind or {}, Mapping) or not isinstance(parameters, Mapping):
            raise ConfigError(f"`rope_parameters` must be an object for each kind. Received: {parameters!r}.")
        of_kind = of_kind or {}
        if of_kind.get("rope_type", "default") != "default":
            raise ConfigError(
                f"`rope_parameters.{kind}.rope_type` must be default. Received: {of_kind['rope_type']!r}."
            )
        theta, key = of_kind.get("rope_theta"), f"rope_parameters.{kind}.rope_theta"
        if theta is None:
            theta, key = values.get(older), older
        if theta is not None:
            require_positive(key, theta)
        read[name] = default if theta is None else theta
    read.pop("rope_parameters", None)
    return read


def _layer_types(values: Mapping[str, Any]) -> list[str] | None:
    """What each layer attends to by the older keys."""
    layers, every = (
        default if values.get(key) is None else values[key]
        for key, default in (("num_hidden_layers", _LAYERS), ("global_attn_every_n_layers", 3))
    )
    require_whole("global_attn_every_n_layers", every, least=1)
    if not isinstance(layers, int):
        return None  # which is refused by its own name
    require(
        layers <= _MOST_LAYERS,
        f"`num_hidden_layers` must be at most {_MOST_LAYERS:,} where `layer_types` are not listed.",
        num_hidden_layers=layers,
    )
    return [SLIDING if index % every else FULL for index in range(layers)]


def _write(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values with `rope_parameters`, and the older keys too where the file had them."""
    written = dict(values)
    parameters = {}
    for kind, (name, older, _) in _THETAS.items():
        theta = written.pop(name)
        parameters[kind] = {"rope_type": "default", "rope_theta": theta}
        if "global_rope_theta" in values:
            written[older] = theta
    return {**written, "rope_parameters": parameters}


MODERN_BERT = Family(
    architecture="ModernBertForMaskedLM",
    prefix="model.",
    encoder={
        "embedding.token": "embeddings.tok_embeddings",
        "embedding.norm": "embeddings.norm",
        "final_norm": "final_norm",
    },
    block={
        "attention.query_key_value": ("attn.Wqkv",),
        "attention_output": ("attn.Wo",),
        "attention_norm": ("attn_norm",),
        "intermediate": ("mlp.Wi",),
        "output": ("mlp.Wo",),
        "output_norm": ("mlp_norm",),
    },
    block_prefix="layers.{}.",
    head={"intermediate_dense": "head.dense", "intermediate_layer_norm": "head.norm"},
    decoder="decoder.weight",
    output_bias="decoder.bias",
    copies={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    inputs=("input_ids", "attention_mask"),
    keys={
        "hidden_act": "hidden_activation",
        "hidden_dropout_prob": "mlp_dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "layer_norm_eps": "norm_eps",
        "head_hidden_act": "classifier_activation",
        "head_bias": "classifier_bias",
    },
    defaults={
        "vocab_size": 50368,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "max_position_embeddings": 8192,
        "pad_token_id": 50283,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-5,
        "head_hidden_act": "gelu",
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "head_bias": False,
    },
    fixed=fixed(
        *("norm_bias", "attention_bias", "mlp_bias", "head_bias"),
        *("rope_theta", "local_rope_theta", "layer_types", "local_attention"),
        norm_position="pre",
        gated=True,
        first_norm=False,
        type_vocab_size=0,
    ),
    read=_read,
    write=_write,
)
