"""`config.json` to a `ModelConfig` and back, by the names that its family has."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from tf_mlm.config import ModelConfig, from_json, to_json
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.families import FAMILIES, family_of
from tf_mlm.model.directory.family import Family

# Names that mean the same in transformers and here. `leaky_relu`, for one, has another slope there.
ACTIVATIONS = (
    "gelu",
    "gelu_accurate",
    "gelu_fast",
    "gelu_new",
    "gelu_python",
    "gelu_pytorch_tanh",
    "linear",
    "mish",
    "quick_gelu",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "swish",
    "tanh",
)

# Settings of transformers that change the computation; any other value would be silently wrong here.
_ONLY: Mapping[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": {},
    "inner_group_num": 1,
    "norm_type": "layer_norm",
    "use_bias": True,
}

_WAYS_OUT = {
    "quantization_config": "Quantised weights are not read here: load the model with transformers, call its "
    "`dequantize()`, save it and take that directory; `tf-mlm export --quantize int8` makes it small again.",
    "norm_type": "RoFormerV2 is saved so elsewhere, with norms that have no weights. That is not read here, "
    "and transformers makes another model of it; what can be had is KerasHub's, by `tf-mlm convert`.",
}

# Keys that transformers itself, or tools around it, write and that no logit depends on.
_WITHOUT_EFFECT = frozenset(
    {
        "_attn_implementation",
        "_commit_hash",
        "_name_or_path",
        "_num_labels",
        "adapters",
        "architectures",
        "attn_implementation",
        "bos_token_id",
        "chunk_size_feed_forward",
        "classifier_dropout",
        "classifier_dropout_prob",
        "classifier_pooling",
        "cls_token_id",
        "conv_groups",
        "cross_attention_hidden_size",
        "decoder_bias",
        "decoder_start_token_id",
        "deterministic_flash_attn",
        "directionality",
        "do_sample",
        "down_scale_factor",
        "dtype",
        "embedding_dropout",
        "eos_token_id",
        "esmfold_config",
        "finetuning_task",
        "gap_size",
        "global_attn_every_n_layers",
        "global_rope_theta",
        "gradient_checkpointing",
        "id2label",
        "initializer_cutoff_factor",
        "is_composition",
        "is_folding_model",
        "keys_to_ignore_at_inference",
        "label2id",
        "language",
        "layers_to_keep",
        "legacy",
        "mask_token_id",
        "max_length",
        "model_name",
        "name",
        "net_structure_type",
        "num_labels",
        "num_memory_blocks",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "pooler_dropout",
        "pooler_fc_size",
        "pooler_hidden_act",
        "pooler_hidden_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
        "prefix",
        "problem_type",
        "qa_dropout",
        "reference_compile",
        "repad_logits_with_grad",
        "return_dict",
        "sentence_transformers",
        "sep_token_id",
        "seq_classif_dropout",
        "sinusoidal_pos_embds",
        "sparse_pred_ignore_index",
        "sparse_prediction",
        "summary_activation",
        "summary_first_dropout",
        "summary_last_dropout",
        "summary_type",
        "summary_use_proj",
        "task_specific_params",
        "tie_encoder_decoder",
        "tokenizer_class",
        "torch_dtype",
        "torchscript",
        "tpu_short_seq_length",
        "transformers.js_config",
        "transformers_version",
        "use_bfloat16",
        "use_cache",
        "use_tpu_fourier_optimizations",
        "vocab_list",
        "xla_device",
    }
)

# Keys that transformers does not know; they are written only where they say something.
_OPTIONAL = ("head_hidden_act", "head_layer_norm_eps")


def read_config(values: Mapping[str, Any]) -> ModelConfig:
    """The `ModelConfig` of a parsed `config.json`; keys without a field here are kept in `extra`.

    Raises:
        ConfigError: for a family, an activation or an option that cannot be computed here.

    Example:
        >>> read_config({"model_type": "distilbert", "dim": 8, "n_heads": 2}).hidden_size
        8
    """
    model_type = values.get("model_type") or _type_of_architecture(values.get("architectures"))
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ConfigError(
            f"`model_type` must be one of {', '.join(FAMILIES)}, or `architectures` name a model of one of "
            f"them. Received: model_type={model_type!r}, architectures={values.get('architectures')!r}."
        )
    family = FAMILIES[model_type]
    values = {**family.read(values), "model_type": model_type}
    for key, only in _ONLY.items():
        if (value := values.get(key)) is not None and value != only:
            way_out = f" {_WAYS_OUT[key]}" if key in _WAYS_OUT else ""
            raise ConfigError(f"`{key}` must be {only!r} or absent. Received: {key}={value!r}.{way_out}")
    ours = {theirs: name for name, theirs in family.keys.items()}
    fields = {field.name for field in dataclasses.fields(ModelConfig)}
    # null means "the default" in config.json; transformers' defaults differ from family to family.
    known = {ours.get(key, key): value for key, value in values.items() if key not in family.keys}
    known = {key: value for key, value in known.items() if key not in fields or value is not None}
    try:
        config = from_json(ModelConfig, {**family.defaults, **known, **family.fixed})
        check_config(config)
    except TypeError as error:
        raise ConfigError(f"A setting has the wrong type: {error}.") from error
    except ConfigError as error:  # in our names; the reader of the file knows its own
        raise ConfigError(_in_names_of(family, str(error))) from error
    return config


def _in_names_of(family: Family, message: str) -> str:
    for ours, theirs in {**family.keys, **family.said}.items():
        message = re.sub(rf"\b{ours}(?=[`=])", theirs, message)
    return message


def unknown_keys(config: ModelConfig) -> list[str]:
    """Keys of its `config.json` that neither this package nor transformers is known to compute with."""
    family = family_of(config)
    known = (*_WITHOUT_EFFECT, *_ONLY, *family.fixed, *family.keys.values())
    return sorted(key for key in config.extra if key not in known)


def _type_of_architecture(architectures: Any) -> str | None:
    """The family that a class name such as BertForMaskedLM begins with; older files have no `model_type`."""
    names = architectures if isinstance(architectures, list) else []
    for model_type, family in FAMILIES.items():
        beginning = family.architecture.removesuffix("ForMaskedLM")
        if any(isinstance(name, str) and re.match(f"{beginning}(For|Model|LMHead)", name) for name in names):
            return model_type
    return None


def write_config(config: ModelConfig, dtype: str = "float32") -> dict[str, Any]:
    """The `config.json` of a model whose weights are stored in `dtype`."""
    check_config(config)
    family = family_of(config)
    values = {
        family.keys.get(key, key): value
        for key, value in to_json(config).items()
        if key not in family.fixed and not (key in _OPTIONAL and value is None)
    }
    values = dict(family.write(values))
    # transformers gives a loaded model the dtype that the config states.
    dtype_key = "torch_dtype" if "torch_dtype" in values else "dtype"
    return {**values, "architectures": [family.architecture], dtype_key: dtype}


def check_config(config: ModelConfig) -> None:
    """Raises `ConfigError` for a config that transformers cannot express or would compute differently."""
    family = family_of(config)
    for name in ("hidden_act", "head_hidden_act", "conv_act"):
        activation = getattr(config, name)
        if activation not in ACTIVATIONS and not (name in _OPTIONAL and activation is None):
            raise ConfigError(
                f"`{name}` must be one of {', '.join(ACTIVATIONS)}. Received: {name}={activation!r}."
            )
    for name, value in family.fixed.items():
        if (received := getattr(config, name)) != value:
            raise ConfigError(
                f"`{name}` must be {value!r} with model_type={config.model_type!r}. "
                f"Received: {name}={received!r}."
            )
    if not config.tie_word_embeddings and config.token_embedding_size != config.hidden_size:
        raise ConfigError(
            "`tie_word_embeddings` must be true when `embedding_size` differs from `hidden_size`. "
            f"Received: embedding_size={config.embedding_size}, hidden_size={config.hidden_size}."
        )
