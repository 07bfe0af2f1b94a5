"""The families of models: what Hugging Face calls their settings and their tensors.

A family is data: which key of `config.json` holds which field of `ModelConfig`, and which module of
the PyTorch model holds which of ours. Everything that reads or writes a checkpoint is derived from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Family:
    """One `model_type`: modules of ours on the left, names in the PyTorch model on the right.

    `prefix` stands before every encoder tensor of a model with a head, and is absent from a bare encoder.
    `head` names do not get it. `copies` are tensors that a tied model shares with another one.
    """

    architecture: str
    prefix: str
    embedding: Mapping[str, str]
    block: Mapping[str, tuple[str, ...]]
    block_prefix: str
    head: Mapping[str, str]
    decoder: str
    output_bias: str
    copies: Mapping[str, str]
    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_BERT_EMBEDDING = {
    "token": "embeddings.word_embeddings",
    "position": "embeddings.position_embeddings",
    "segment": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "projection": "embeddings_project",
}
_BERT_BLOCK = {
    "attention.query_key_value": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention_output": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "intermediate": ("intermediate.dense",),
    "output": ("output.dense",),
    "output_norm": ("output.LayerNorm",),
}
_BERT = Family(
    architecture="BertForMaskedLM",
    prefix="bert.",
    embedding=_BERT_EMBEDDING,
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
    fixed={"embedding_size": None},
)
_ROBERTA = dataclasses.replace(
    _BERT,
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
FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "distilbert": Family(
        architecture="DistilBertForMaskedLM",
        prefix="distilbert.",
        embedding=_BERT_EMBEDDING,
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
        fixed={"type_vocab_size": 0, "layer_norm_eps": 1e-12, "embedding_size": None},
    ),
    "electra": dataclasses.replace(
        _BERT,
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
        fixed={},
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": dataclasses.replace(_ROBERTA, architecture="XLMRobertaForMaskedLM"),
}
