"""Masked-language modelling in TensorFlow, from text to a served answer.

Public names are resolved on first use, so importing the package does not import TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "AsyncClient": "tf_mlm.serving.client.async_client",
    "BertEncoder": "tf_mlm.model.bert_encoder",
    "Client": "tf_mlm.serving.client.client",
    "ConfigError": "tf_mlm.config",
    "Encoder": "tf_mlm.model.encoder",
    "FillMask": "tf_mlm.model.fill_mask",
    "MaskedLM": "tf_mlm.model.masked_lm",
    "MaskedLMHead": "tf_mlm.layers.masked_lm_head",
    "MaskedLMMaskGenerator": "tf_mlm.text.masking",
    "ModelConfig": "tf_mlm.config",
    "ReversibleEmbedding": "tf_mlm.layers.reversible_embedding",
    "TextPreprocessor": "tf_mlm.text.preprocessor",
    "TokenizerConfig": "tf_mlm.config",
    "Vocabulary": "tf_mlm.text.vocabulary",
    "export_saved_model": "tf_mlm.export.saved_model",
    "load": "tf_mlm.model.directory.checkpoint",
    "save": "tf_mlm.model.directory.checkpoint",
}

# Not among the names below, as importing all of them must not need Keras's TensorFlow backend.
_MODULES = ("keras",)

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from tf_mlm import keras as keras
    from tf_mlm.config import ModelConfig as ModelConfig
    from tf_mlm.config import TokenizerConfig as TokenizerConfig
    from tf_mlm.errors import ConfigError as ConfigError
    from tf_mlm.export.saved_model import export_saved_model as export_saved_model
    from tf_mlm.layers.masked_lm_head import MaskedLMHead as MaskedLMHead
    from tf_mlm.layers.reversible_embedding import ReversibleEmbedding as ReversibleEmbedding
    from tf_mlm.model.bert_encoder import BertEncoder as BertEncoder
    from tf_mlm.model.directory.checkpoint import load as load
    from tf_mlm.model.directory.checkpoint import save as save
    from tf_mlm.model.encoder import Encoder as Encoder
    from tf_mlm.model.fill_mask import FillMask as FillMask
    from tf_mlm.model.masked_lm import MaskedLM as MaskedLM
    from tf_mlm.serving.client.async_client import AsyncClient as AsyncClient
    from tf_mlm.serving.client.client import Client as Client
    from tf_mlm.text.masking import MaskedLMMaskGenerator as MaskedLMMaskGenerator
    from tf_mlm.text.preprocessor import TextPreprocessor as TextPreprocessor
    from tf_mlm.text.vocabulary import Vocabulary as Vocabulary


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"tf_mlm.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'tf_mlm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
