"""Weights in forms that are not read here, and adapters such as PEFT's: refused, with the way out."""

from __future__ import annotations

from pathlib import Path

from tf_mlm.config import read_json
from tf_mlm.errors import CheckpointError

SAFETENSORS = "model.safetensors"
PYTORCH = "pytorch_model.bin"
TENSORFLOW = "tf_model.h5"
# In this order; each may be in shards, with an index.
READ = (SAFETENSORS, PYTORCH, TENSORFLOW)

_SAVE_AS = "transformers' `from_pretrained({}).save_pretrained(...)`"
# Weights in forms that are not read here: a pattern of file names, what it is, and the way out.
_OTHER_FORMS = (
    (
        "flax_model*.msgpack",
        "weights of transformers' Flax models",
        f"With transformers 4 and Flax, {_SAVE_AS.format('..., from_flax=True')} writes {SAFETENSORS}.",
    ),
    (
        "*.index",
        "a TensorFlow checkpoint",
        "If it is one of TensorFlow 1's BERT, `tf-mlm convert` makes a model directory of it; weights "
        f"saved with Keras or tf.train.Checkpoint have to be saved as {SAFETENSORS} by the program that "
        "made them.",
    ),
    (
        "saved_model.pb",
        "a SavedModel, which is run and not trained on",
        "Serve it, or take the model directory that it was exported from.",
    ),
    (
        "*.keras",
        "a Keras model",
        "`tf-mlm convert` reads KerasHub's presets (preset.save_to_preset); others have to be saved as "
        f"{SAFETENSORS} by the program that made them.",
    ),
    (
        "*.onnx",
        "a model for ONNX Runtime, without trainable weights",
        f"Take the directory it was exported from, with its {SAFETENSORS}.",
    ),
    (
        "onnx/*.onnx",
        "a model for ONNX Runtime, without trainable weights",
        f"Take the directory it was exported from, with its {SAFETENSORS}.",
    ),
    ("*.gguf", "weights for llama.cpp", f"Take the directory it was made from, with its {SAFETENSORS}."),
    (
        "rust_model.ot",
        "weights for rust-bert",
        f"Take the directory it was made from, with its {SAFETENSORS}.",
    ),
    (
        "*.safetensors",
        f"a safetensors file of another name than {SAFETENSORS}",
        f"If it holds the whole model, rename it to {SAFETENSORS}; a shard needs its "
        f"{SAFETENSORS}.index.json.",
    ),
    (
        "*.bin",
        f"a file of another name than {PYTORCH}",
        f"If it holds PyTorch's weights of the whole model, rename it to {PYTORCH}; a shard needs its "
        f"{PYTORCH}.index.json.",
    ),
    (
        "*.pt*",
        f"a file of another name than {PYTORCH}",
        f"If it holds the `state_dict` of the whole model, rename it to {PYTORCH}.",
    ),
    (
        "tf_model*.h5",
        f"a file of another name than {TENSORFLOW}",
        f"If it holds the whole model, rename it to {TENSORFLOW}; a shard needs its {TENSORFLOW}.index.json.",
    ),
    ("*.h5", "weights of a Keras model", f"Save them as {SAFETENSORS} with the program that made them."),
)
ADAPTER = "adapter_config.json"
EXPECTED = f"Expected: {SAFETENSORS}, {SAFETENSORS}.index.json, {PYTORCH} or {TENSORFLOW}."


def has_weights(directory: Path) -> bool:
    """Whether the directory has weights in a form that is read here."""
    return any((directory / file).is_file() for name in READ for file in (name, f"{name}.index.json"))


def refuse_other_forms(directory: Path) -> None:
    """Raises a `CheckpointError` that says what a directory holds instead of weights, if that can be told."""
    if (directory / ADAPTER).is_file():
        base = read_json(directory / ADAPTER).get("base_model_name_or_path")
        raise CheckpointError(
            f"`{directory / ADAPTER}` says that the directory holds an adapter for {base!r}, which would "
            "have to be added to that model's weights. Merge the two with PEFT (`merge_and_unload()`), and "
            "save the result as a model of its own."
        )
    for pattern, what, way_out in _OTHER_FORMS:
        if found := sorted(directory.glob(pattern)):
            raise CheckpointError(
                f"`{found[0]}` is {what}, and no weights that can be read here lie beside it. {EXPECTED} "
                f"{way_out}"
            )
