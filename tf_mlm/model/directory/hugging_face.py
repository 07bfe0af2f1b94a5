"""How Hugging Face's model families name their settings and their tensors.

A family is data: which key of `config.json` holds which field of `ModelConfig`, and which module of
the PyTorch model holds which of ours. Everything that reads or writes a checkpoint is derived from it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from tf_mlm.config import ModelConfig, from_json, to_json
from tf_mlm.errors import ConfigError
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.layer_norm import LayerNorm
from tf_mlm.layers.reversible_embedding import ReversibleEmbedding

if TYPE_CHECKING:
    from tf_mlm.model.masked_lm import MaskedLM

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
}

# Keys that transformers itself, or tools around it, write and that no logit depends on.
_WITHOUT_EFFECT = frozenset(
    {
        *(
            "_attn_implementation",
            "_name_or_path",
            "_num_labels",
            "adapters",
            "architectures",
            "bos_token_id",
        ),
        *(
            "chunk_size_feed_forward",
            "classifier_dropout",
            "directionality",
            "do_sample",
            "dtype",
            "eos_token_id",
        ),
        *(
            "finetuning_task",
            "gradient_checkpointing",
            "id2label",
            "is_composition",
            "keys_to_ignore_at_inference",
        ),
        *("label2id", "language", "max_length", "model_name", "name", "num_labels", "output_attentions"),
        *("output_hidden_states", "output_past", "pooler_fc_size", "pooler_num_attention_heads"),
        *(
            "pooler_num_fc_layers",
            "pooler_size_per_head",
            "pooler_type",
            "prefix",
            "problem_type",
            "qa_dropout",
        ),
        *(
            "return_dict",
            "sep_token_id",
            "cls_token_id",
            "mask_token_id",
            "seq_classif_dropout",
            "sinusoidal_pos_embds",
        ),
        *(
            "summary_activation",
            "summary_first_dropout",
            "summary_last_dropout",
            "summary_type",
            "summary_use_proj",
        ),
        *("task_specific_params", "tokenizer_class", "torch_dtype", "torchscript"),
        *("transformers_version", "use_bfloat16", "use_cache", "xla_device"),
        *("_commit_hash", "transformers.js_config", "sentence_transformers"),
        *(
            "tie_encoder_decoder",
            "cross_attention_hidden_size",
            "decoder_start_token_id",
            "attn_implementation",
        ),
    }
)

# Keys that transformers does not know; they are written only where they say something.
_OPTIONAL = ("head_hidden_act", "head_layer_norm_eps")


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
    values = {**values, "model_type": model_type}
    family = FAMILIES[model_type]
    for key, only in _ONLY.items():
        if (value := values.get(key)) and value != only:
            raise ConfigError(f"`{key}` must be {only!r} or absent. Received: {key}={value!r}.")
    ours = {theirs: name for name, theirs in family.keys.items()}
    fields = {field.name for field in dataclasses.fields(ModelConfig)}
    # null means "the default" in config.json; transformers' defaults differ from family to family.
    known = {ours.get(key, key): value for key, value in values.items() if key not in family.keys}
    known = {key: value for key, value in known.items() if key not in fields or value is not None}
    try:
        config = from_json(ModelConfig, {**family.defaults, **known, **family.fixed})
    except TypeError as error:
        raise ConfigError(f"A setting has the wrong type: {error}.") from error
    check_config(config)
    return config


def unknown_keys(config: ModelConfig) -> list[str]:
    """Keys of its `config.json` that neither this package nor transformers is known to compute with."""
    family = FAMILIES[config.model_type]
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
    family = FAMILIES[config.model_type]
    values = {
        family.keys.get(key, key): value
        for key, value in to_json(config).items()
        if key not in family.fixed and not (key in _OPTIONAL and value is None)
    }
    # transformers gives a loaded model the dtype that the config states.
    dtype_key = "torch_dtype" if "torch_dtype" in values else "dtype"
    return {**values, "architectures": [family.architecture], dtype_key: dtype}


def check_config(config: ModelConfig) -> None:
    """Raises `ConfigError` for a config that transformers cannot express or would compute differently."""
    family = FAMILIES[config.model_type]
    for name in ("hidden_act", "head_hidden_act"):
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


class Entry(NamedTuple):
    """A variable, and the tensors that are its parts along the first axis, in the file transposed or not."""

    variable: tf.Variable
    names: tuple[str, ...]
    transposed: bool = False

    def part_shape(self) -> tuple[int, ...]:
        """The shape of each part in the file."""
        first, *rest = self.variable.shape.as_list()
        shape = (first // len(self.names), *rest)
        return shape[::-1] if self.transposed else shape


def encoder_entries(model: MaskedLM, prefix: str | None = None) -> Iterator[Entry]:
    """What a checkpoint holds for the encoder, a `BertEncoder`; `prefix` is the family's unless given."""
    family, encoder = FAMILIES[model.config.model_type], model.encoder
    prefix = family.prefix if prefix is None else prefix
    for path, name in family.embedding.items():
        yield from _module_entries(_attribute(encoder, f"embedding.{path}"), (prefix + name,))
    for index, block in enumerate(_attribute(encoder, "blocks")):
        start = prefix + family.block_prefix.format(index)
        for path, names in family.block.items():
            yield from _module_entries(_attribute(block, path), tuple(start + name for name in names))


def head_entries(model: MaskedLM) -> Iterator[Entry]:
    """What a checkpoint holds for the head; a tied projection belongs to the encoder."""
    family = FAMILIES[model.config.model_type]
    for path, name in family.head.items():
        yield from _module_entries(_attribute(model.head, path), (name,))
    yield Entry(model.head.output_bias, (family.output_bias,))
    if model.head.output_kernel is not None:
        yield Entry(model.head.output_kernel, (family.decoder,), transposed=True)


def _module_entries(module: tf.Module | None, names: tuple[str, ...]) -> Iterator[Entry]:
    weights = tuple(f"{name}.weight" for name in names)
    biases = tuple(f"{name}.bias" for name in names)
    if isinstance(module, Dense):
        yield Entry(module.kernel, weights)
        yield Entry(module.bias, biases)
    elif isinstance(module, LayerNorm):
        yield Entry(module.gamma, weights)
        yield Entry(module.beta, biases)
    elif isinstance(module, ReversibleEmbedding):
        yield Entry(module.embeddings, weights)


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module
