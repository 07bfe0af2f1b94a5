"""BERT, and the families that differ from it in names, sizes and what their layers share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_mlm.errors import ConfigError
from tf_mlm.layers.rotary import ANGLES
from tf_mlm.model.directory.family import Family, fixed

_BERT_EMBEDDING = {
    "embedding.token": "embeddings.word_embeddings",
    "embedding.position": "embeddings.position_embeddings",
    "embedding.segment": "embeddings.token_type_embeddings",
    "embedding.norm": "embeddings.LayerNorm",
    "embedding.projection": "embeddings_project",
}
_BERT_BLOCK = {
    "attention.query_key_value": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention_output": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "intermediate": ("intermediate.dense",),
    "output": ("output.dense",),
    "output_norm": ("output.LayerNorm",),
}
BERT = Family(
    architecture="BertForMaskedLM",
    prefix="bert.",
    encoder=_BERT_EMBEDDING,
    block=_BERT_BLOCK,
    block_prefix="encoder.layer.{}.",
    head={
        "intermediate_dense": "cls.predictions.transform.dense",
        "intermediate_layer_norm": "cls.predictions.transform.LayerNorm",
    },
    decoder="cls.predictions.decoder.weight",
    output_bias="cls.predictions.bias",
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    fixed=fixed(),
)
DISTILBERT = Family(
    architecture="DistilBertForMaskedLM",
    prefix="distilbert.",
    encoder=_BERT_EMBEDDING,
    block={
        "attention.query_key_value": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        "attention_output": ("attention.out_lin",),
        "attention_norm": ("sa_layer_norm",),
        "intermediate": ("ffn.lin1",),
        "output": ("ffn.lin2",),
        "output_norm": ("output_layer_norm",),
    },
    block_prefix="transformer.layer.{}.",
    head={"intermediate_dense": "vocab_transform", "intermediate_layer_norm": "vocab_layer_norm"},
    decoder="vocab_projector.weight",
    output_bias="vocab_projector.bias",
    copies={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    keys={
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    },
    defaults={"num_hidden_layers": 6},
    fixed=fixed(type_vocab_size=0, layer_norm_eps=1e-12),
)
ELECTRA = dataclasses.replace(
    BERT,
    architecture="ElectraForMaskedLM",
    prefix="electra.",
    head={
        "intermediate_dense": "generator_predictions.dense",
        "intermediate_layer_norm": "generator_predictions.LayerNorm",
    },
    decoder="generator_lm_head.weight",
    output_bias="generator_lm_head.bias",
    copies={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    defaults={
        "embedding_size": 128,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    fixed=fixed("embedding_size"),
)
ROBERTA = dataclasses.replace(
    BERT,
    architecture="RobertaForMaskedLM",
    prefix="roberta.",
    head={"intermediate_dense": "lm_head.dense", "intermediate_layer_norm": "lm_head.layer_norm"},
    decoder="lm_head.decoder.weight",
    output_bias="lm_head.bias",
    copies={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    defaults={"vocab_size": 50265, "pad_token_id": 1},
)
# The tensors of these two have RoBERTa's prefix, too.
XLM_ROBERTA = dataclasses.replace(ROBERTA, architecture="XLMRobertaForMaskedLM", defaults={"pad_token_id": 1})
CAMEMBERT = dataclasses.replace(ROBERTA, architecture="CamembertForMaskedLM", defaults={"pad_token_id": 1})
ALBERT = Family(
    architecture="AlbertForMaskedLM",
    prefix="albert.",
    encoder={**_BERT_EMBEDDING, "embedding.projection": "encoder.embedding_hidden_mapping_in"},
    block={
        "attention.query_key_value": ("attention.query", "attention.key", "attention.value"),
        "attention_output": ("attention.dense",),
        "attention_norm": ("attention.LayerNorm",),
        "intermediate": ("ffn",),
        "output": ("ffn_output",),
        "output_norm": ("full_layer_layer_norm",),
    },
    block_prefix="encoder.albert_layer_groups.{}.albert_layers.0.",
    head={"intermediate_dense": "predictions.dense", "intermediate_layer_norm": "predictions.LayerNorm"},
    decoder="predictions.decoder.weight",
    output_bias="predictions.bias",
    copies={
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    defaults={
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_hidden_groups": 1,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    fixed=fixed("embedding_size", "num_hidden_groups", embedding_projection=True),
)


def _mpnet(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """transformers counts MPNet's positions from behind the id 1, whatever the padding is."""
    if values.get("pad_token_id", 1) not in (1, None):
        raise ConfigError(
            "`pad_token_id` must be 1 with model_type='mpnet', whose positions count from behind it. "
            f"Received: {values['pad_token_id']!r}."
        )
    return values


MPNET = dataclasses.replace(
    ROBERTA,
    architecture="MPNetForMaskedLM",
    prefix="mpnet.",
    encoder={**_BERT_EMBEDDING, "positions.bias.table": "encoder.relative_attention_bias.weight"},
    block={
        "attention.query_key_value": ("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        "attention_output": ("attention.attn.o",),
        "attention_norm": ("attention.LayerNorm",),
        "intermediate": ("intermediate.dense",),
        "output": ("output.dense",),
        "output_norm": ("output.LayerNorm",),
    },
    copies={
        "lm_head.decoder.weight": "mpnet.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    inputs=("input_ids", "attention_mask"),
    keys={"relative_buckets": "relative_attention_num_buckets"},
    defaults={"vocab_size": 30527, "pad_token_id": 1, "relative_buckets": 32},
    fixed=fixed("relative_buckets", type_vocab_size=0),
    read=_mpnet,
)
ROFORMER = dataclasses.replace(
    BERT,
    architecture="RoFormerForMaskedLM",
    prefix="roformer.",
    copies={
        "cls.predictions.decoder.weight": "roformer.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    frozen={"positions.rotary.stored": "encoder.embed_positions.weight"},
    keys={"rope_values": "rotary_value"},
    defaults={"vocab_size": 50000, "max_position_embeddings": 1536},
    fixed=fixed(
        *("embedding_size", "rope_values"), rope_theta=10_000.0, rope_stored=ANGLES, rope_interleaved=True
    ),
)
# As KerasHub has it. transformers has no class for it, and the keys and names are this package's own.
ROFORMER_V2 = dataclasses.replace(
    ROFORMER,
    architecture="RoFormerV2ForMaskedLM",
    head={},
    copies={"cls.predictions.decoder.weight": "roformer.embeddings.word_embeddings.weight"},
    frozen={},
    keys={},
    defaults={
        "hidden_act": "relu",
        "layer_norm_eps": 1e-7,
        "rope_theta": 10_000.0,
        "attention_bias": False,
        "mlp_bias": False,
    },
    fixed=fixed(
        *("rope_theta", "attention_bias", "mlp_bias"),
        norm="rms",
        norm_bias=False,
        rope_interleaved=True,
        bare_head=True,
    ),
)
FNET = dataclasses.replace(
    BERT,
    architecture="FNetForMaskedLM",
    prefix="fnet.",
    encoder={**_BERT_EMBEDDING, "embedding.projection": "embeddings.projection"},
    block={
        "attention_norm": ("fourier.output.LayerNorm",),
        "intermediate": ("intermediate.dense",),
        "output": ("output.dense",),
        "output_norm": ("output.LayerNorm",),
    },
    copies={
        "cls.predictions.decoder.weight": "fnet.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    frozen={"kept_head": "pooler.dense"},
    inputs=("input_ids", "token_type_ids"),
    defaults={"vocab_size": 32000, "hidden_act": "gelu_new", "type_vocab_size": 4, "pad_token_id": 3},
    fixed=fixed(
        mixing="fourier",
        kept_head="pooler",
        embedding_projection=True,
        num_attention_heads=1,
        attention_probs_dropout_prob=0.0,
    ),
)
