"""KerasHub's masked language models (or bare backbones): a preset directory or a `.keras` file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tf_mlm.config import ModelConfig
from tf_mlm.convert.keras_hub_families import (
    KERAS_HUB_FAMILIES,
    KerasHubFamily,
    attribute,
    layers,
    model_config,
    named,
)
from tf_mlm.convert.keras_hub_tokenizer import notes_on, vocabulary_of
from tf_mlm.convert.named_arrays import NamedArrays
from tf_mlm.convert.source import Logits, Source
from tf_mlm.errors import CheckpointError, ConfigError
from tf_mlm.layers.disentangled_bias import log_buckets
from tf_mlm.model.directory.families import family_of

_HEAD = {"intermediate_dense": "_intermediate_dense", "intermediate_layer_norm": "_intermediate_layer_norm"}


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
    peer = _family_of(model, source)
    backbone, head = getattr(model, "backbone", model), getattr(model, "masked_lm_head", None)
    preprocessor = getattr(model, "preprocessor", None)
    tokenizer = getattr(preprocessor, "tokenizer", None)
    config = model_config(peer, backbone, head, preprocessor)
    weights = dict([*_encoder(peer, backbone, config), *(_head(head, config) if head is not None else ())])
    vocabulary = tokenizer and vocabulary_of(
        tokenizer, source, peer, rows=config.vocab_size, lower_case=lower_case
    )
    return Source(
        kind=f"KerasHub {type(model).__name__}",
        config=config,
        config_file=source if source.is_file() else source / "config.json",
        tensors=NamedArrays(
            source, {name: (value.shape, partial(np.asarray, value)) for name, value in weights.items()}
        ),
        vocabulary=vocabulary,
        logits=_logits(model) if head is not None else None,
        notes=(*_notes(config, backbone), *(notes_on(tokenizer, vocabulary) if vocabulary else ())),
    )


def _notes(config: ModelConfig, backbone: Any) -> Iterator[str]:
    if config.head_hidden_act or config.head_layer_norm_eps:
        yield (
            "KerasHub's head has an activation or an epsilon of its own. They are kept as head_hidden_act "
            "and head_layer_norm_eps in config.json, which transformers ignores: there, logits differ "
            "slightly."
        )
    if config.mixing == "fourier":
        yield (
            "KerasHub's FNet mixes padding into a text, so that its answers depend on the length that its "
            "preprocessor pads to. Here each text is read over its own length; logits were compared so."
        )
    if config.model_type == "roformer_v2":
        yield (
            "In KerasHub on TensorFlow and JAX, tokens of a RoFormerV2 see the padding behind their text, so "
            "that answers depend on the length that its preprocessor pads to. Here each text is read over "
            "its own length; logits were compared so. transformers has no such model: only tf_mlm reads the "
            "directory."
        )
    if config.relative_parts and (differ := _bucket_differences(config, backbone)):
        yield (
            f"KerasHub rounds {differ} of the distances between positions into the neighbouring bucket, "
            "the longest ones; here they are as in transformers, and texts of that length differ slightly."
        )


def _bucket_differences(config: ModelConfig, backbone: Any) -> int:
    attention = layers(backbone)[0]._self_attention_layer
    length = config.max_position_embeddings
    theirs = np.asarray(attention._make_log_bucket_position(np.arange(length, dtype=np.int32)))
    return int((theirs != log_buckets(length, config.position_buckets, length)).sum())


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
    task = str(_class_name(source / "task.json"))
    try:
        if source.is_file():
            return keras.saving.load_model(source, compile=False)
        if task in [f"{name}MaskedLM" for name in KERAS_HUB_FAMILIES]:
            preprocessor = _preset_preprocessor(source, getattr(models, f"{task}Preprocessor"))
            return getattr(models, task).from_preset(str(source), preprocessor=preprocessor)
        return models.Backbone.from_preset(str(source))  # another task, or none: only that is of use
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"`{source}` is not a readable KerasHub checkpoint ({error}).") from error


def _family_of(model: Any, source: Path) -> KerasHubFamily:
    """The entry of a model's class, or of the nearest one that it is made from."""
    import keras_hub

    for base in type(model).__mro__:
        for name, family in KERAS_HUB_FAMILIES.items():
            classes = (f"{name}MaskedLM", f"{name}Backbone")
            if any(getattr(keras_hub.models, known, None) is base for known in classes):
                return family
    raise ConfigError(
        f"Only KerasHub's {named()}, and their backbones, can be converted. "
        f"Received: {type(model).__name__} in `{source}`."
    )


def _class_name(path: Path) -> str | None:
    return json.loads(path.read_text("utf-8")).get("class_name") if path.is_file() else None


def _preset_preprocessor(source: Path, preprocessor: Any) -> Any:
    """The preset's own; a model saved without one must not be asked for it."""
    if not (source / "preprocessor.json").is_file():
        return None
    return preprocessor.from_preset(str(source))


def _encoder(peer: KerasHubFamily, backbone: Any, config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    family = family_of(config)
    names = {**family.encoder, **family.frozen}
    for path, theirs in peer.encoder.items():
        for name, value in _weights(family.prefix + names[path], attribute(backbone, theirs)):
            rows = config.position_offset if path == "embedding.position" else 0
            yield name, np.pad(value, ((rows, 0), (0, 0))) if rows else value
    if config.type_vocab_size and "embedding.segment" not in peer.encoder:
        name = f"{family.prefix}{names['embedding.segment']}.weight"
        yield name, np.zeros([config.type_vocab_size, config.token_embedding_size], np.float32)
    for index, layer in enumerate(layers(backbone)):
        prefix = family.prefix + family.block_prefix.format(index)
        for path, parts in peer.block.items():
            for part, theirs in zip(family.block[path], parts, strict=True):
                yield from _weights(prefix + part, attribute(layer, theirs))


def _head(head: Any, config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    family = family_of(config)
    if config.bare_head:
        return
    for path, theirs in _HEAD.items():
        yield from _weights(family.head[path], attribute(head, theirs))
    yield family.output_bias, _value(head._bias)


def _weights(name: str, layer: Any) -> Iterator[tuple[str, np.ndarray]]:
    """What a layer of Keras holds; its attention splits an axis into heads, which side by side are one."""
    if hasattr(layer, "kernel"):
        shape = layer.kernel.shape[-1:] if layer.bias is None else layer.bias.shape
        size = int(np.prod(shape))
        yield f"{name}.weight", _value(layer.kernel).reshape(-1, size).T
        if layer.bias is not None:
            yield f"{name}.bias", _value(layer.bias).reshape(size)
    elif hasattr(layer, "gamma"):
        yield f"{name}.weight", _value(layer.gamma)
        yield f"{name}.bias", _value(layer.beta)
    elif hasattr(layer, "scale"):
        yield f"{name}.weight", _value(layer.scale)
    elif hasattr(layer, "position_embeddings"):
        yield f"{name}.weight", _value(layer.position_embeddings)
    elif hasattr(layer, "embeddings"):
        yield f"{name}.weight", _value(layer.embeddings)
    else:
        yield name, _value(layer)


def _value(variable: Any) -> np.ndarray:
    return np.asarray(variable.numpy())


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
        inputs = {name: inputs[name] for name in model.input}
        if "padding_mask" in inputs:
            return np.asarray(model(inputs))
        rows = []
        for row, length in enumerate(lengths):  # without a mask, each text by itself
            of_row = {name: value[row : row + 1, :length] for name, value in inputs.items()}
            of_row["mask_positions"] = mask_positions[row : row + 1]
            rows.append(np.asarray(model(of_row)))
        return np.concatenate(rows)

    return logits
