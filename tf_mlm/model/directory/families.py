"""The families of models: what Hugging Face calls their settings and their tensors.

A family is data: which key of `config.json` holds which field of `ModelConfig`, and which module of
the PyTorch model holds which of ours. Everything that reads or writes a checkpoint is derived from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tf_mlm.model.directory.modern_bert import read_modern_bert, write_modern_bert


def _as_it_is(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return values


@dataclasses.dataclass(frozen=True)
class Family:
    """One `model_type`: modules of ours on the left, names in the PyTorch model on the right.

    `prefix` stands before every encoder tensor of a model with a head, and is absent from a bare encoder.
    `head` names do not get it. `copies` are tensors that a tied model shares with another one. `keys` are
    the names in its `config.json`, where they differ, and `read` and `write` convert what has another form.
    """

    architecture: str
    prefix: str
    encoder: Mapping[str, str]
    block: Mapping[str, tuple[str, ...]]
    block_prefix: str
    head: Mapping[str, str]
    decoder: str
    output_bias: str
    copies: Mapping[str, str]
    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _as_it_is
    write: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _as_it_is


_BERT_EMBEDDING = {
    "embedding.token": "embeddings.word_embeddings",
    "embedding.position": "embeddings.position_embeddings",
    "embedding.segment": "embeddings.token_type_embeddings",
    "embedding.norm": "embeddings.LayerNorm",
    "embedding.projection": "embeddings_project",
}
_BERT_SWITCHES = {
    "norm_position": "post",
    "gated": False,
    "norm_bias": True,
    "attention_bias": True,
    "mlp_bias": True,
    "head_bias": True,
    "rope_theta": None,
    "local_rope_theta": None,
    "layer_types": None,
    "local_attention": 128,
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
    fixed={**_BERT_SWITCHES, "embedding_size": None},
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
        fixed={**_BERT_SWITCHES, "type_vocab_size": 0, "layer_norm_eps": 1e-12, "embedding_size": None},
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
        fixed=_BERT_SWITCHES,
    ),
    "modernbert": Family(
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
        fixed={"norm_position": "pre", "gated": True, "type_vocab_size": 0, "embedding_size": None},
        read=read_modern_bert,
        write=write_modern_bert,
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": dataclasses.replace(_ROBERTA, architecture="XLMRobertaForMaskedLM"),
}
