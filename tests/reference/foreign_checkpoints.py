"""Checkpoints of other systems, made for real: KerasHub's `BertMaskedLM` and Google's TensorFlow 1 BERT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

VOCAB = 40
TOKENS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("the", "cat", "dog", "sat", "ran", "on", "a", "mat", "##s", "##ing", "."),
    *(chr(ord("a") + index) + "x" for index in range(24)),
]
SIZES = {"layers": 2, "heads": 4, "hidden": 16, "inner": 32, "positions": 20}


def keras_hub_masked_lm(
    *, dropout: float = 0.0, preprocessor: bool = True, scale: float = 0.3, seed: int = 0
) -> Any:
    """A KerasHub `BertMaskedLM` with every weight drawn at random, biases and norms included."""
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=VOCAB,
        num_layers=SIZES["layers"],
        num_heads=SIZES["heads"],
        hidden_dim=SIZES["hidden"],
        intermediate_dim=SIZES["inner"],
        max_sequence_length=SIZES["positions"],
        dropout=dropout,
    )
    prepare = None
    if preprocessor:
        tokenizer = keras_hub.models.BertTokenizer(vocabulary=TOKENS, lowercase=True)
        prepare = keras_hub.models.BertMaskedLMPreprocessor(tokenizer, sequence_length=SIZES["positions"])
    model = keras_hub.models.BertMaskedLM(backbone, preprocessor=prepare)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        centre = 1.0 if "gamma" in weight.path else 0.0
        weight.assign(rng.normal(centre, scale, weight.shape))
    return model


def google_variables(seed: int = 0) -> dict[str, np.ndarray]:
    """What Google's pretraining saves: weights, both heads, Adam's slots and the step, by variable name."""
    hidden, inner = SIZES["hidden"], SIZES["inner"]
    shapes: dict[str, tuple[int, ...]] = {
        "bert/embeddings/word_embeddings": (VOCAB, hidden),
        "bert/embeddings/position_embeddings": (SIZES["positions"], hidden),
        "bert/embeddings/token_type_embeddings": (2, hidden),
        "bert/pooler/dense/kernel": (hidden, hidden),
        "bert/pooler/dense/bias": (hidden,),
        "cls/predictions/transform/dense/kernel": (hidden, hidden),
        "cls/predictions/transform/dense/bias": (hidden,),
        "cls/predictions/output_bias": (VOCAB,),
        "cls/seq_relationship/output_weights": (2, hidden),
        "cls/seq_relationship/output_bias": (2,),
    }
    norms = ["bert/embeddings", "cls/predictions/transform"]
    for layer in range(SIZES["layers"]):
        name = f"bert/encoder/layer_{layer}"
        for dense, sizes in {
            "attention/self/query": (hidden, hidden),
            "attention/self/key": (hidden, hidden),
            "attention/self/value": (hidden, hidden),
            "attention/output/dense": (hidden, hidden),
            "intermediate/dense": (hidden, inner),
            "output/dense": (inner, hidden),
        }.items():
            shapes[f"{name}/{dense}/kernel"] = sizes
            shapes[f"{name}/{dense}/bias"] = sizes[1:]
        norms += [f"{name}/attention/output", f"{name}/output"]
    for name in norms:
        shapes[f"{name}/LayerNorm/gamma"] = shapes[f"{name}/LayerNorm/beta"] = (hidden,)
    rng = np.random.default_rng(seed)
    variables = {
        name: rng.normal(1.0 if name.endswith("gamma") else 0.0, 0.3, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    slots = {
        f"{name}/{slot}": np.full_like(value, 7.0)
        for name, value in variables.items()
        for slot in ("adam_m", "adam_v")
    }
    return {**variables, **slots, "global_step": np.array(1000, np.int64)}


def write_google_checkpoint(directory: Path, variables: dict[str, np.ndarray], **config: Any) -> Path:
    """Saves variables with TensorFlow 1's `Saver`; `config` overrides `bert_config.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": SIZES["hidden"],
        "initializer_range": 0.02,
        "intermediate_size": SIZES["inner"],
        "max_position_embeddings": SIZES["positions"],
        "num_attention_heads": SIZES["heads"],
        "num_hidden_layers": SIZES["layers"],
        "type_vocab_size": 2,
        "vocab_size": VOCAB,
    }
    (directory / "bert_config.json").write_text(json.dumps({**settings, **config}), encoding="utf-8")
    (directory / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        made = [v1.Variable(value, name=name, dtype=value.dtype) for name, value in variables.items()]
        session.run(v1.global_variables_initializer())
        v1.train.Saver(made).save(session, str(directory / "bert_model.ckpt"))
    return directory


def hugging_face_weights(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Google's variables as a Hugging Face state dict, by a rule of its own: a list of replacements."""
    weights = {}
    for name, value in variables.items():
        if "adam" in name or name == "global_step":
            continue
        if name.endswith("/kernel"):
            name, value = name.removesuffix("kernel") + "weight", value.T
        for old, new in {
            "LayerNorm/gamma": "LayerNorm/weight",
            "LayerNorm/beta": "LayerNorm/bias",
            "_embeddings": "_embeddings/weight",
            "predictions/output_bias": "predictions/bias",
            "layer_": "layer/",
        }.items():
            name = name.replace(old, new)
        weights[name.replace("/", ".")] = value
    return weights
