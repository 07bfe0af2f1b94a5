"""The families of models that directories may be of."""

from __future__ import annotations

from collections.abc import Mapping

from tf_mlm.config import ModelConfig
from tf_mlm.model.directory.bert_families import (
    ALBERT,
    BERT,
    CAMEMBERT,
    DISTILBERT,
    ELECTRA,
    FNET,
    MPNET,
    ROBERTA,
    ROFORMER,
    ROFORMER_V2,
    XLM_ROBERTA,
)
from tf_mlm.model.directory.deberta import DEBERTA_V2, of_its_head
from tf_mlm.model.directory.esm import ESM
from tf_mlm.model.directory.family import Family
from tf_mlm.model.directory.modern_bert import MODERN_BERT

FAMILIES: Mapping[str, Family] = {
    "albert": ALBERT,
    "bert": BERT,
    "camembert": CAMEMBERT,
    "deberta-v2": DEBERTA_V2,
    "distilbert": DISTILBERT,
    "electra": ELECTRA,
    "esm": ESM,
    "fnet": FNET,
    "modernbert": MODERN_BERT,
    "mpnet": MPNET,
    "roberta": ROBERTA,
    "roformer": ROFORMER,
    "roformer_v2": ROFORMER_V2,
    "xlm-roberta": XLM_ROBERTA,
}


def family_of(config: ModelConfig) -> Family:
    """The family of a model, with the names that its config says."""
    family = FAMILIES[config.model_type]
    return of_its_head(config) if family is DEBERTA_V2 else family
