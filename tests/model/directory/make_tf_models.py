"""Writes tf_models.tar.gz: directories that transformers 4's TensorFlow models saved, each with its logits.

It needs an environment of its own, as transformers 5 has no TensorFlow: `pip install tensorflow tf_keras
"transformers<5"`, then `TF_USE_LEGACY_KERAS=1 python tests/model/directory/make_tf_models.py`.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import transformers

SIZES = {"vocab_size": 24, "max_position_embeddings": 20}
BERT = {
    **SIZES,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}
DISTILBERT = {**SIZES, "dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 12}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "albert": ("Albert", {**BERT, "embedding_size": 6}),
    "bert": ("Bert", BERT),
    "camembert": ("Camembert", BERT),
    "distilbert": ("DistilBert", DISTILBERT),
    "electra": ("Electra", {**BERT, "embedding_size": 6}),
    "roberta": ("Roberta", BERT),
    "xlm-roberta": ("XLMRoberta", BERT),
}
IDS = np.array([[2, 5, 7, 9, 11, 3], [4, 6, 8, 10, 12, 14]])


def made(name: str, sizes: dict[str, Any], task: str = "ForMaskedLM") -> Any:
    """A TensorFlow model with random weights; biases and norms too, which would otherwise hide a mix-up."""
    random = np.random.default_rng(3)
    model = getattr(transformers, f"TF{name}{task}")(getattr(transformers, f"{name}Config")(**sizes))
    model(IDS)
    for variable in model.weights:
        variable.assign(random.normal(0, 0.3, variable.shape))
    return model


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for family, (name, sizes) in FAMILIES.items():
            model = made(name, sizes)
            model.save_pretrained(root / family, safe_serialization=False)
            np.save(root / family / "logits.npy", model(IDS).logits.numpy())
        model = made("Bert", BERT)
        forms = {
            "shards": {"safe_serialization": False, "max_shard_size": "4KB"},
            "safetensors": {"safe_serialization": True},
        }
        for form, options in forms.items():
            model.save_pretrained(root / f"bert-{form}", **options)
            np.save(root / f"bert-{form}" / "logits.npy", model(IDS).logits.numpy())
        for task, directory in (("ForPreTraining", "bert-pretraining"), ("Model", "bert-encoder")):
            made("Bert", BERT, task).save_pretrained(root / directory, safe_serialization=False)
        with tarfile.open(Path(__file__).with_name("tf_models.tar.gz"), "w:gz") as archive:
            for path in sorted(root.rglob("*")):
                archive.add(path, path.relative_to(root), recursive=False)
    print(f"TensorFlow {tf.__version__}, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
