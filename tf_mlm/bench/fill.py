"""Ids to the five likeliest tokens, BERT-base; and raw text to fills through the whole path."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.bench.contest import OURS, Contender, Outcome, compete
from tf_mlm.config import ModelConfig
from tf_mlm.model.masked_lm import MaskedLM

SHAPES = ((1, 16), (1, 32), (1, 128), (8, 32), (8, 128), (32, 64))
TOP = 5


def outcomes(peers: bool) -> Iterator[Outcome]:
    """One row per (batch, length), with one mask in six tokens at most 20."""
    config = ModelConfig()
    model = MaskedLM.from_config(config, seed=0)
    torch_model = _torch_model(model) if peers else None
    random = np.random.default_rng(0)
    program = tf.function(lambda *inputs: _top(model(*inputs)), jit_compile=True, autograph=False)
    for batch, length in SHAPES:
        masks = min(20, max(1, length // 16))
        ids = random.integers(1000, config.vocab_size, [batch, length]).astype(np.int32)
        positions = np.stack([np.sort(random.permutation(length)[:masks]) for _ in range(batch)])
        arrays = (ids, np.full([batch], length, np.int32), np.zeros_like(ids), positions.astype(np.int32))
        inputs = tuple(tf.constant(array) for array in arrays)
        contenders: dict[str, Contender] = {OURS: functools.partial(_ours, program, inputs)}
        if torch_model is not None:
            contenders["transformers"] = _transformers(torch_model, *arrays)
        yield compete(f"BERT-base fill, {batch}×{length}, {masks} masks", contenders, tolerance=1e-3)


def _ours(program: Any, inputs: tuple[tf.Tensor, ...]) -> np.ndarray:
    return program(*inputs).numpy()


def _top(logits: tf.Tensor) -> tf.Tensor:
    return tf.math.top_k(tf.nn.softmax(logits), TOP).values


def _torch_model(model: MaskedLM) -> Any:
    import tempfile

    from transformers import BertForMaskedLM

    import tf_mlm

    with tempfile.TemporaryDirectory() as directory:
        tf_mlm.save(model, directory)
        return BertForMaskedLM.from_pretrained(directory).eval()


def _transformers(
    model: Any, ids: np.ndarray, lengths: np.ndarray, segments: Any, positions: Any
) -> Contender:
    """The encoder, and the head at the masked positions only: better than its pipeline does."""
    import torch

    tensors = {
        "input_ids": torch.tensor(ids, dtype=torch.long),
        "attention_mask": torch.ones(ids.shape, dtype=torch.long),
        "token_type_ids": torch.tensor(segments, dtype=torch.long),
    }
    index = torch.tensor(positions, dtype=torch.long)[..., None].expand(-1, -1, model.config.hidden_size)

    def run() -> np.ndarray:
        with torch.inference_mode():
            hidden = model.bert(**tensors).last_hidden_state
            logits = model.cls(torch.gather(hidden, 1, index))
            return logits.softmax(-1).topk(TOP).values.numpy()

    return run
