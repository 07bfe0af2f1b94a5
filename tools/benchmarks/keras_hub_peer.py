"""KerasHub as a contender, with the weights of a model directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import Contender


class KerasHubPeer:
    """`keras_hub.models.BertMaskedLM`, asked through `predict_on_batch`.

    Args:
        directory: a model directory of a BERT.
        jit: what `compile` is told about XLA; "auto" is Keras's own default.
    """

    def __init__(self, directory: Path, *, jit: bool | str = "auto") -> None:
        import keras
        import keras_hub

        from tf_mlm.model.directory.checkpoint import read_config

        config = read_config(directory)
        backbone = keras_hub.models.BertBackbone(
            vocabulary_size=config.vocab_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            hidden_dim=config.hidden_size,
            intermediate_dim=config.intermediate_size,
            max_sequence_length=config.max_position_embeddings,
            num_segments=config.type_vocab_size,
        )
        self.model = keras_hub.models.BertMaskedLM(backbone)
        _assign(self.model, directory)
        self.model.compile(loss=keras.losses.SparseCategoricalCrossentropy(True), jit_compile=jit)

    def fill(
        self, ids: np.ndarray, lengths: np.ndarray, segments: np.ndarray, positions: np.ndarray, top: int
    ) -> Contender:
        """Scores of every mask from `predict_on_batch`, and TensorFlow's top-k of them."""
        import tensorflow as tf

        inputs = {
            "token_ids": ids,
            "segment_ids": segments,
            "padding_mask": (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int32),
            "mask_positions": positions,
        }

        def run() -> np.ndarray:
            logits = self.model.predict_on_batch(inputs)
            best = tf.math.top_k(logits, top).values
            return (best - tf.reduce_logsumexp(logits, -1, keepdims=True)).numpy()

        return run

    def text(self, directory: Path, batch: int, length: int, top: int) -> Callable[[list[str]], np.ndarray]:
        """Lines with one mask each to scores [lines, top]: its tokenizer and packer, then its model.

        Its preprocessor pads every line to one length, so it is given that of the longest line.
        """
        import keras_hub
        import tensorflow as tf

        tokenizer = keras_hub.models.BertTokenizer(
            str(directory / "vocab.txt"), lowercase=True, special_tokens_in_strings=True
        )
        preprocess = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=length)
        mask_id = tokenizer.mask_token_id

        @tf.function(autograph=False)
        def prepare(lines: tf.Tensor) -> dict[str, tf.Tensor]:
            inputs = preprocess(lines)
            at = tf.argmax(tf.cast(inputs["token_ids"] == mask_id, tf.int32), -1, tf.int32)
            return {**inputs, "mask_positions": at[:, tf.newaxis]}

        def run(lines: list[str]) -> np.ndarray:
            scores = []
            for start in range(0, len(lines), batch):
                logits = self.model.predict_on_batch(prepare(tf.constant(lines[start : start + batch])))
                best = tf.math.top_k(logits, top).values
                scores.append((best - tf.reduce_logsumexp(logits, -1, keepdims=True)).numpy()[:, 0])
            return np.concatenate(scores)

        return run


def _assign(model: Any, directory: Path) -> None:
    """Copies the weights; Keras keeps kernels as [in, out], and splits attention's axis into heads."""
    from safetensors.numpy import load_file

    tensors = load_file(directory / "model.safetensors")

    def norm(layer: Any, name: str) -> None:
        layer.gamma.assign(tensors[f"{name}.weight"])
        layer.beta.assign(tensors[f"{name}.bias"])

    def dense(layer: Any, name: str) -> None:
        layer.kernel.assign(tensors[f"{name}.weight"].T.reshape(layer.kernel.shape))
        layer.bias.assign(tensors[f"{name}.bias"].reshape(layer.bias.shape))

    backbone, head = model.backbone, model.masked_lm_head
    table = "bert.embeddings.{}_embeddings.weight"
    backbone.token_embedding.embeddings.assign(tensors[table.format("word")])
    backbone.position_embedding.position_embeddings.assign(tensors[table.format("position")])
    backbone.segment_embedding.embeddings.assign(tensors[table.format("token_type")])
    norm(backbone.embeddings_layer_norm, "bert.embeddings.LayerNorm")
    for index, layer in enumerate(backbone.transformer_layers):
        name = f"bert.encoder.layer.{index}"
        attention = layer._self_attention_layer
        for part in ("query", "key", "value"):
            dense(getattr(attention, f"{part}_dense"), f"{name}.attention.self.{part}")
        dense(attention.output_dense, f"{name}.attention.output.dense")
        norm(layer._self_attention_layer_norm, f"{name}.attention.output.LayerNorm")
        dense(layer._feedforward_intermediate_dense, f"{name}.intermediate.dense")
        dense(layer._feedforward_output_dense, f"{name}.output.dense")
        norm(layer._feedforward_layer_norm, f"{name}.output.LayerNorm")
    dense(head._intermediate_dense, "cls.predictions.transform.dense")
    norm(head._intermediate_layer_norm, "cls.predictions.transform.LayerNorm")
    head._bias.assign(tensors["cls.predictions.bias"])
