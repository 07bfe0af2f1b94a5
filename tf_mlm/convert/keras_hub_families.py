"""KerasHub's masked language models: what each calls its weights and its sizes. One entry for each."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from tf_mlm.config import ModelConfig
from tf_mlm.config.tokenizer import PAIR, TEXT
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.families import FAMILIES
from tf_mlm.model.masked_lm import head_activation, head_epsilon

_SIZES = {
    "vocab_size": "vocabulary_size",
    "hidden_size": "hidden_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_dim",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "dropout",
    "max_position_embeddings": "max_sequence_length",
}
_ADDED = {  # token, position and segment, as BERT adds them
    "embedding.token": "token_embedding",
    "embedding.position": "position_embedding",
    "embedding.segment": "segment_embedding",
    "embedding.norm": "embeddings_layer_norm",
}
_TOKEN_AND_POSITION = {
    "embedding.token": "token_embedding",
    "embedding.position": "embeddings.position_embedding",
    "embedding.norm": "embeddings_layer_norm",
}
_ATTENTION = "_self_attention_layer."
_BLOCK = {
    "attention.query_key_value": tuple(f"{_ATTENTION}{part}_dense" for part in ("query", "key", "value")),
    "attention_output": (f"{_ATTENTION}output_dense",),
    "attention_norm": ("_self_attention_layer_norm",),
    "intermediate": ("_feedforward_intermediate_dense",),
    "output": ("_feedforward_output_dense",),
    "output_norm": ("_feedforward_layer_norm",),
}
_TWO_SEPARATORS = tuple((part, 0) for part in ("<s>", TEXT, "</s>", "</s>", PAIR, "</s>"))


@dataclasses.dataclass(frozen=True)
class KerasHubFamily:
    """One of KerasHub's models: paths of our modules on the left, of attributes there on the right.

    Attributes:
        model_type: the family here.
        encoder: parts of the encoder.
        block: parts of each of its layers.
        sizes: fields of `ModelConfig`, and the attributes of the backbone that say them.
        constants: fields that the backbone has no attribute for.
        only: attributes, or the `pad_token_id`, that must have this value: others have no counterpart.
        has_length: whether the backbone says how long texts may be; its preprocessor does otherwise.
        pair: how its preprocessor puts two texts together; None as BERT's.
    """

    model_type: str
    encoder: Mapping[str, str] = dataclasses.field(default_factory=lambda: _ADDED)
    block: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: _BLOCK)
    sizes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    only: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    has_length: bool = True
    pair: tuple[tuple[str, int], ...] | None = None


_SEGMENTS = {"type_vocab_size": "num_segments"}
# A table of one segment, zeros: RoBERTa in transformers has one, and nothing here.
_ROBERTA = KerasHubFamily(
    "roberta", encoder=_TOKEN_AND_POSITION, constants={"type_vocab_size": 1}, pair=_TWO_SEPARATORS
)
KERAS_HUB_FAMILIES: Mapping[str, KerasHubFamily] = {
    "Bert": KerasHubFamily("bert", sizes=_SEGMENTS),
    "Roberta": _ROBERTA,
    "XLMRoberta": dataclasses.replace(_ROBERTA, model_type="xlm-roberta"),
    "DistilBert": KerasHubFamily("distilbert", encoder=_TOKEN_AND_POSITION),
    "Albert": KerasHubFamily(
        "albert",
        encoder={**_ADDED, "embedding.projection": "embeddings_projection"},
        sizes={**_SEGMENTS, "embedding_size": "embedding_dim", "num_hidden_groups": "num_groups"},
        only={"num_inner_repetitions": 1},
    ),
    "FNet": KerasHubFamily(
        "fnet",
        encoder={**_ADDED, "embedding.projection": "embedding_projection", "kept_head": "pooled_dense"},
        block={
            "attention_norm": ("_mixing_layer_norm",),
            "intermediate": ("_intermediate_dense",),
            "output": ("_output_dense",),
            "output_norm": ("_output_layer_norm",),
        },
        sizes=_SEGMENTS,
    ),
    "DebertaV3": KerasHubFamily(
        "deberta-v2",
        encoder={
            "embedding.token": "token_embedding",
            "embedding.norm": "embeddings_layer_norm",
            "positions.vectors.table": "relative_embeddings.rel_embeddings",
            "positions.vectors.norm": "relative_embeddings.layer_norm",
        },
        block={
            **_BLOCK,
            "attention.query_key_value": tuple(
                f"{_ATTENTION}_{part}_dense" for part in ("query", "key", "value")
            ),
            "attention_output": (f"{_ATTENTION}_output_dense",),
        },
        sizes={"position_buckets": "bucket_size"},
        constants={
            "type_vocab_size": 0,
            "position_table": False,
            "relative_parts": ("c2p", "p2c"),
            "relative_shared": True,
            "relative_norm": True,
            "extra": {"legacy": False},  # the names of the head that its authors trained
        },
    ),
    "RoformerV2": KerasHubFamily(
        "roformer_v2",
        encoder={name: part for name, part in _ADDED.items() if name != "embedding.position"},
        block={
            "attention.query_key_value": tuple(f"attention_layer.{part}_dense" for part in "qkv"),
            "attention_output": ("attention_layer.o_dense",),
            "attention_norm": ("attention_norm",),
            "intermediate": ("feedforward_intermediate_dense",),
            "output": ("feedforward_output_dense",),
            "output_norm": ("feedforward_norm",),
        },
        sizes={
            **_SEGMENTS,
            "rope_theta": "max_wavelength",
            "attention_bias": "use_bias",
            "mlp_bias": "use_bias",
        },
        constants={"attention_probs_dropout_prob": 0.0},
        only={"pad_token_id": 0},  # it takes this id for padding, whatever its tokenizer says
        has_length=False,
    ),
}
"""By what the names of the classes begin with, such as `BertMaskedLM` and `BertBackbone`."""


def named() -> str:
    """The classes that can be converted, for messages."""
    *most, last = (f"{name}MaskedLM" for name in KERAS_HUB_FAMILIES)
    return f"{', '.join(most)} and {last}"


def model_config(peer: KerasHubFamily, backbone: Any, head: Any, preprocessor: Any) -> ModelConfig:
    """The sizes and constants of a KerasHub backbone and head; both others may be None.

    What the head has in common with the head of its family is not stated: transformers knows only that.

    Raises:
        ConfigError: for a backbone that its family has no counterpart for.
    """
    family, layer = FAMILIES[peer.model_type], layers(backbone)[0]
    tokenizer = getattr(preprocessor, "tokenizer", None)
    pad = family.defaults.get("pad_token_id", 0) if tokenizer is None else int(tokenizer.pad_token_id)
    for name, value in peer.only.items():
        if (received := pad if name == "pad_token_id" else getattr(backbone, name)) != value:
            raise ConfigError(
                f"`{name}` must be {value} for a {type(backbone).__name__} to be converted: "
                f"model_type={peer.model_type!r} has nothing else. Received: {received}. Use it in KerasHub, "
                "or convert a model that has it."
            )
    sizes = {field: name for field, name in {**_SIZES, **peer.sizes}.items() if field not in family.fixed}
    lengths = {}
    if not peer.has_length:
        del sizes["max_position_embeddings"]
        lengths = {} if preprocessor is None else {"max_position_embeddings": preprocessor.sequence_length}
    norm = float(attribute(layer, peer.block["output_norm"][0]).epsilon)
    config = ModelConfig(
        **{
            **{field: getattr(backbone, name) for field, name in sizes.items()},
            **lengths,
            "layer_norm_eps": norm,
            **peer.constants,
            **family.fixed,
        },
        model_type=peer.model_type,
        hidden_act=_activation(attribute(layer, peer.block["intermediate"][0]).activation),
        pad_token_id=pad,
    )
    # Positions are counted from behind the padding id in some families, and from 0 in all of KerasHub's.
    rows = config.max_position_embeddings + config.position_offset
    config = dataclasses.replace(config, max_position_embeddings=rows)
    if head is None or config.bare_head:
        return config
    act, epsilon = _activation(head.intermediate_activation), float(head.layer_norm_epsilon)
    return dataclasses.replace(
        config,
        head_hidden_act=None if act == head_activation(config) else act,
        head_layer_norm_eps=None if epsilon == head_epsilon(config) else epsilon,
    )


def layers(backbone: Any) -> list[Any]:
    """The layers that have weights of their own; ALBERT's stand in groups of one."""
    return [layer[0] if isinstance(layer, list) else layer for layer in backbone.transformer_layers]


def attribute(owner: Any, path: str) -> Any:
    """The attribute at the end of a path with dots."""
    return functools.reduce(getattr, path.split("."), owner)


def _activation(function: Any) -> str:
    """Hugging Face's name of a Keras activation."""
    return {"gelu_approximate": "gelu_new"}.get(function.__name__, function.__name__)
