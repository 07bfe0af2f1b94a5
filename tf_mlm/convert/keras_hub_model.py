"""KerasHub's `BertMaskedLM` (or a bare `BertBackbone`): a preset directory or a `.keras` file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tf_mlm.config import ModelConfig, TokenizerConfig
from tf_mlm.convert.named_arrays import NamedArrays
from tf_mlm.convert.source import Logits, Source
from tf_mlm.errors import CheckpointError, ConfigError
from tf_mlm.text.vocabulary import Vocabulary

_NOTES = (
    "KerasHub's head has an activation and an epsilon of its own. They are kept as head_hidden_act and "
    "head_layer_norm_eps in config.json, which transformers ignores: there, logits differ slightly.",
)


def recognises(source: Path) -> bool:
    """Whether `source` is a preset directory or a Keras archive."""
    if source.suffix == ".keras":
        return source.is_file()
    return (source / "task.json").is_file() or (
        (source / "config.json").is_file() and "keras_hub" in (source / "config.json").read_text("utf-8")
    )


def read(source: Path, lower_case: bool | None) -> Source:
    """The model under Hugging Face's names; kernels are transposed as PyTorch has them."""
    model = _load(source)
    backbone, head = getattr(model, "backbone", model), getattr(model, "masked_lm_head", None)
    arrays = {
        name: (value.shape, partial(np.asarray, value))
        for name, value in (*_encoder(backbone), *(_head(head) if head is not None else ()))
    }
    return Source(
        kind=f"KerasHub {type(model).__name__}",
        config=model_config(backbone, head),
        config_file=source if source.is_file() else source / "config.json",
        tensors=NamedArrays(source, arrays),
        vocabulary=_vocabulary(source, getattr(model, "preprocessor", None), lower_case),
        logits=_logits(model) if head is not None else None,
        notes=_NOTES if head is not None else (),
    )


def model_config(backbone: Any, head: Any = None) -> ModelConfig:
    """The sizes and constants of a KerasHub backbone and head."""
    layer = backbone.transformer_layers[0]
    return ModelConfig(
        vocab_size=backbone.vocabulary_size,
        hidden_size=backbone.hidden_dim,
        num_hidden_layers=backbone.num_layers,
        num_attention_heads=backbone.num_heads,
        intermediate_size=backbone.intermediate_dim,
        hidden_act=_activation(layer._feedforward_intermediate_dense.activation),
        hidden_dropout_prob=float(backbone.dropout),
        attention_probs_dropout_prob=float(backbone.dropout),
        max_position_embeddings=backbone.max_sequence_length,
        type_vocab_size=backbone.num_segments,
        layer_norm_eps=float(layer._feedforward_layer_norm.epsilon),
        head_hidden_act=None if head is None else _activation(head.intermediate_activation),
        head_layer_norm_eps=None if head is None else float(head.layer_norm_epsilon),
    )


def _activation(function: Any) -> str:
    """Hugging Face's name of a Keras activation."""
    return {"gelu_approximate": "gelu_new"}.get(function.__name__, function.__name__)


def _load(source: Path) -> Any:
    try:
        import keras
        import keras_hub
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"`{source}` is a KerasHub checkpoint, which needs keras-hub: "
            "run `pip install 'tf-mlm[keras-hub]'`."
        ) from error
    models = keras_hub.models
    try:
        if source.is_file():
            model = keras.saving.load_model(source, compile=False)
        elif _class_name(source / "task.json") == "BertMaskedLM":
            model = models.BertMaskedLM.from_preset(
                str(source), preprocessor=_preset_preprocessor(source, models)
            )
        else:  # another task, or no task: only the backbone is of use
            model = models.Backbone.from_preset(str(source))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"`{source}` is not a readable KerasHub checkpoint ({error}).") from error
    if not isinstance(model, models.BertMaskedLM | models.BertBackbone):
        raise ConfigError(
            "Only KerasHub's BertMaskedLM and BertBackbone can be converted. "
            f"Received: {type(model).__name__} in `{source}`."
        )
    return model


def _class_name(path: Path) -> str | None:
    return json.loads(path.read_text("utf-8")).get("class_name") if path.is_file() else None


def _preset_preprocessor(source: Path, models: Any) -> Any:
    """The preset's own; a model saved without one must not be asked for it."""
    if not (source / "preprocessor.json").is_file():
        return None
    return models.BertMaskedLMPreprocessor.from_preset(str(source))


def _vocabulary(source: Path, preprocessor: Any, lower_case: bool | None) -> Vocabulary | None:
    if preprocessor is None:
        return None
    tokenizer = preprocessor.tokenizer
    lower_case = bool(tokenizer.lowercase) if lower_case is None else lower_case
    return Vocabulary(
        [str(token) for token in tokenizer.get_vocabulary()], TokenizerConfig(do_lower_case=lower_case)
    )


def _encoder(backbone: Any) -> Iterator[tuple[str, np.ndarray]]:
    hidden = backbone.hidden_dim
    table = "bert.embeddings.{}_embeddings.weight"
    yield table.format("word"), _value(backbone.token_embedding.embeddings)
    yield table.format("position"), _value(backbone.position_embedding.position_embeddings)
    yield table.format("token_type"), _value(backbone.segment_embedding.embeddings)
    yield from _norm("bert.embeddings.LayerNorm", backbone.embeddings_layer_norm)
    for index, layer in enumerate(backbone.transformer_layers):
        name = f"bert.encoder.layer.{index}"
        attention = layer._self_attention_layer
        for part in ("query", "key", "value"):
            yield from _dense(f"{name}.attention.self.{part}", getattr(attention, f"{part}_dense"), hidden)
        yield from _dense(f"{name}.attention.output.dense", attention.output_dense, hidden)
        yield from _norm(f"{name}.attention.output.LayerNorm", layer._self_attention_layer_norm)
        inner = backbone.intermediate_dim
        yield from _dense(f"{name}.intermediate.dense", layer._feedforward_intermediate_dense, inner)
        yield from _dense(f"{name}.output.dense", layer._feedforward_output_dense, hidden)
        yield from _norm(f"{name}.output.LayerNorm", layer._feedforward_layer_norm)


def _head(head: Any) -> Iterator[tuple[str, np.ndarray]]:
    size = head._intermediate_dense.units
    yield from _dense("cls.predictions.transform.dense", head._intermediate_dense, size)
    yield from _norm("cls.predictions.transform.LayerNorm", head._intermediate_layer_norm)
    yield "cls.predictions.bias", _value(head._bias)


def _value(variable: Any) -> np.ndarray:
    return np.asarray(variable.numpy())


def _dense(name: str, layer: Any, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """Keras's attention splits an axis into heads; side by side they are one axis again."""
    yield f"{name}.weight", _value(layer.kernel).reshape(-1, size).T
    yield f"{name}.bias", _value(layer.bias).reshape(size)


def _norm(name: str, layer: Any) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name}.weight", _value(layer.gamma)
    yield f"{name}.bias", _value(layer.beta)


def _logits(model: Any) -> Logits:
    def logits(
        token_ids: np.ndarray, lengths: np.ndarray, segment_ids: np.ndarray, mask_positions: np.ndarray
    ) -> np.ndarray:
        padding_mask = np.arange(token_ids.shape[1]) < lengths[:, None]
        inputs = {
            "token_ids": token_ids,
            "segment_ids": segment_ids,
            "padding_mask": padding_mask.astype(np.int32),
            "mask_positions": mask_positions,
        }
        return np.asarray(model(inputs))

    return logits
