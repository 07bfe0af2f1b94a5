"""ESM: proteins, one token for each residue. Its `config.json` names the kind of positions and of dropout.

A file of ESM-2 holds the frequencies of its rotations, older ones once for each layer, and the weights of a
head for contacts between residues. Neither is trained here; both are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_mlm.errors import ConfigError
from tf_mlm.layers.rotary import FREQUENCIES
from tf_mlm.model.directory.family import Family, fixed

_KIND = "position_embedding_type"
_THETA = 10_000.0


def _read(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rotations or a table, and the token that is taken for dropped.

    Raises:
        ConfigError: for positions of another kind, for a folding model, or without a mask's id to drop.
    """
    read = dict(values)
    kind = read.pop(_KIND, None) or "absolute"
    if kind not in ("absolute", "rotary"):
        raise ConfigError(f"`{_KIND}` must be absolute or rotary. Received: {kind!r}.")
    if values.get("is_folding_model"):
        raise ConfigError(
            "`is_folding_model` must be false: a folding model predicts structures, not tokens. Received: "
            "true. Use the ESM-2 model that it is built on."
        )
    theta = read.pop("rope_theta", None)
    if kind == "rotary":
        read |= {"rope_theta": _THETA if theta is None else theta, "rope_stored": FREQUENCIES}
    dropped, mask = read.pop("token_dropout", None), values.get("mask_token_id")
    if dropped and (not isinstance(mask, int) or isinstance(mask, bool)):
        raise ConfigError(
            "`mask_token_id` must be the id of the mask where `token_dropout` is true, as its vectors are "
            f"left out. Received: mask_token_id={mask!r}."
        )
    read["dropped_token_id"] = mask if dropped else None
    if values.get("pad_token_id") is None:
        raise ConfigError("`pad_token_id` must be the id of the padding. Received: none.")
    if values.get("emb_layer_norm_before") is None:
        read["emb_layer_norm_before"] = False
    return read


def _write(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `_read` reads."""
    written = dict(values)
    dropped, theta = written.pop("dropped_token_id"), written.pop("rope_theta")
    written.pop("rope_stored")
    if dropped is not None:
        written["mask_token_id"] = dropped
    if theta is not None:
        written["rope_theta"] = theta
    return {
        **written,
        "token_dropout": dropped is not None,
        _KIND: "absolute" if theta is None else "rotary",
    }


ESM = Family(
    architecture="EsmForMaskedLM",
    prefix="esm.",
    encoder={
        "embedding.token": "embeddings.word_embeddings",
        "embedding.position": "embeddings.position_embeddings",
        "embedding.norm": "embeddings.layer_norm",
        "final_norm": "encoder.emb_layer_norm_after",
    },
    block={
        "attention.query_key_value": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention_output": ("attention.output.dense",),
        "attention_norm": ("attention.LayerNorm",),
        "intermediate": ("intermediate.dense",),
        "output": ("output.dense",),
        "output_norm": ("LayerNorm",),
    },
    block_prefix="encoder.layer.{}.",
    head={"intermediate_dense": "lm_head.dense", "intermediate_layer_norm": "lm_head.layer_norm"},
    decoder="lm_head.decoder.weight",
    output_bias="lm_head.bias",
    copies={"lm_head.decoder.weight": "esm.embeddings.word_embeddings.weight"},
    frozen={"positions.rotary.stored": "rotary_embeddings.inv_freq", "kept_head": "contact_head.regression"},
    # Once for each layer; transformers 5 writes a star in place of their number.
    older={r"encoder\.layer\.(\d+|\*)\.attention\.self\.rotary_embeddings": "rotary_embeddings"},
    unused=("embeddings.position_embeddings.",),
    keys={"embedding_norm": "emb_layer_norm_before"},
    said={"dropped_token_id": "mask_token_id"},
    defaults={"max_position_embeddings": 1026},
    fixed=fixed(
        *("embedding_norm", "dropped_token_id", "rope_theta", "rope_stored"),
        norm_position="pre",
        kept_head="contacts",
        type_vocab_size=0,
        hidden_act="gelu",
    ),
    read=_read,
    write=_write,
)
