"""Masked-language modelling in TensorFlow, from text to a served answer.

Public names are resolved on first use, so importing the package does not import TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME = {
    "AnswerError": "tf_mlm.errors",
    "AsyncClient": "tf_mlm.serving.client.async_client",
    "BertEncoder": "tf_mlm.model.bert_encoder",
    "Buckets": "tf_mlm.config",
    "CheckpointError": "tf_mlm.errors",
    "Client": "tf_mlm.serving.client.client",
    "ClientError": "tf_mlm.serving.client.error",
    "ConfigError": "tf_mlm.errors",
    "ConfigWarning": "tf_mlm.errors",
    "DecoderError": "tf_mlm.errors",
    "Encoder": "tf_mlm.model.encoder",
    "evaluate": "tf_mlm.training.evaluation",
    "ExportMismatchError": "tf_mlm.errors",
    "FillMask": "tf_mlm.model.fill_mask",
    "InvalidInputError": "tf_mlm.errors",
    "Limits": "tf_mlm.config",
    "load": "tf_mlm.model.directory.checkpoint",
    "MaskedLM": "tf_mlm.model.masked_lm",
    "MaskedLMHead": "tf_mlm.layers.masked_lm_head",
    "MaskedLMMaskGenerator": "tf_mlm.text.masking",
    "MissingOutputsError": "tf_mlm.errors",
    "ModelConfig": "tf_mlm.config",
    "ModelServer": "tf_mlm.serving.server",
    "NewHeadWarning": "tf_mlm.errors",
    "ReplacedTargetWarning": "tf_mlm.errors",
    "ReversibleEmbedding": "tf_mlm.layers.reversible_embedding",
    "SameFileWarning": "tf_mlm.errors",
    "SlowProcessorWarning": "tf_mlm.errors",
    "save": "tf_mlm.model.directory.checkpoint",
    "ServerOptions": "tf_mlm.serving.options",
    "ServingError": "tf_mlm.serving.errors",
    "TextPreprocessor": "tf_mlm.text.preprocessor",
    "TfMlmError": "tf_mlm.errors",
    "TfMlmWarning": "tf_mlm.errors",
    "TokenizerConfig": "tf_mlm.config",
    "TokenizerWarning": "tf_mlm.errors",
    "train": "tf_mlm.training.run.trainer",
    "TrainConfig": "tf_mlm.training.options",
    "TrainingDivergedError": "tf_mlm.errors",
    "TrainingStateError": "tf_mlm.errors",
    "UnknownTokensWarning": "tf_mlm.errors",
    "UnservableOperationError": "tf_mlm.errors",
    "UnsupportedTokenizerError": "tf_mlm.errors",
    "VersionExistsError": "tf_mlm.errors",
    "Vocabulary": "tf_mlm.text.vocabulary",
}
_MODULES = ("export", "keras")

# Without `keras`, as importing all of it must not need Keras's TensorFlow backend.
__all__ = ["__version__", "export", *_HOME]

if TYPE_CHECKING:
    from tf_mlm import keras as keras
    from tf_mlm.config import Buckets as Buckets
    from tf_mlm.config import Limits as Limits
    from tf_mlm.config import ModelConfig as ModelConfig
    from tf_mlm.config import TokenizerConfig as TokenizerConfig
    from tf_mlm.errors import AnswerError as AnswerError
    from tf_mlm.errors import CheckpointError as CheckpointError
    from tf_mlm.errors import ConfigError as ConfigError
    from tf_mlm.errors import ConfigWarning as ConfigWarning
    from tf_mlm.errors import DecoderError as DecoderError
    from tf_mlm.errors import ExportMismatchError as ExportMismatchError
    from tf_mlm.errors import InvalidInputError as InvalidInputError
    from tf_mlm.errors import MissingOutputsError as MissingOutputsError
    from tf_mlm.errors import NewHeadWarning as NewHeadWarning
    from tf_mlm.errors import ReplacedTargetWarning as ReplacedTargetWarning
    from tf_mlm.errors import SameFileWarning as SameFileWarning
    from tf_mlm.errors import SlowProcessorWarning as SlowProcessorWarning
    from tf_mlm.errors import TfMlmError as TfMlmError
    from tf_mlm.errors import TfMlmWarning as TfMlmWarning
    from tf_mlm.errors import TokenizerWarning as TokenizerWarning
    from tf_mlm.errors import TrainingDivergedError as TrainingDivergedError
    from tf_mlm.errors import TrainingStateError as TrainingStateError
    from tf_mlm.errors import UnknownTokensWarning as UnknownTokensWarning
    from tf_mlm.errors import UnservableOperationError as UnservableOperationError
    from tf_mlm.errors import UnsupportedTokenizerError as UnsupportedTokenizerError
    from tf_mlm.errors import VersionExistsError as VersionExistsError
    from tf_mlm.export.saved_model import export as export
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
    from tf_mlm.serving.client.error import ClientError as ClientError
    from tf_mlm.serving.errors import ServingError as ServingError
    from tf_mlm.serving.options import ServerOptions as ServerOptions
    from tf_mlm.serving.server import ModelServer as ModelServer
    from tf_mlm.text.masking import MaskedLMMaskGenerator as MaskedLMMaskGenerator
    from tf_mlm.text.preprocessor import TextPreprocessor as TextPreprocessor
    from tf_mlm.text.vocabulary import Vocabulary as Vocabulary
    from tf_mlm.training.evaluation import evaluate as evaluate
    from tf_mlm.training.options import TrainConfig as TrainConfig
    from tf_mlm.training.run.trainer import train as train


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
