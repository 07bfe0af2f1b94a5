"""Warm-up records: the requests that make XLA compile every program before a server says it is ready.

TF-Serving replays `assets.extra/tf_serving_warmup_requests` while it loads a version. A record that
fails fails the load, so a server that refuses XLA says so at its start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tf_mlm import signatures
from tf_mlm.model.questions import Inference

MAX_RECORDS = 1000
"""TF-Serving refuses to load a version with more."""


def warmup_inputs(inference: Inference) -> Iterator[tuple[str, dict[str, Any]]]:
    """Signature names and inputs that reach each program of `inference` in each of its shapes.

    A mask token is one token by definition, so texts of any length can be made without a vocabulary.
    """
    buckets = inference.buckets
    mask = inference.preprocessor.vocabulary.config.mask_token
    longest = buckets.length[-1] - 2

    def text(tokens: int) -> str:
        return " ".join([mask] * tokens)

    def texts_of(tokens: int) -> list[str]:
        """Texts with so many tokens in all, [CLS] and [SEP] included (one token alone cannot be had)."""
        texts = []
        while tokens > 0:
            part = min(max(tokens, 2), buckets.length[-1])
            part -= tokens - part == 1 and part > 2
            texts.append(text(part - 2))
            tokens -= part
        return texts

    for length in buckets.length:
        for batch in buckets.batch:
            yield (
                signatures.PREDICT_MASKED.name,
                {
                    "token_ids": np.zeros([batch, length], np.int32),
                    "lengths": np.full([batch], length, np.int32),
                    "segment_ids": np.zeros([batch, length], np.int32),
                    "mask_positions": np.zeros([batch, 0], np.int32),
                },
            )
    for masks in buckets.masks:
        whole, rest = divmod(masks, longest)
        texts = np.array([text(longest)] * whole + [text(rest)] * bool(rest), dtype=object)
        yield signatures.FILL.name, {"text": texts}
        yield (
            signatures.SCORE_TARGETS.name,
            {"text": texts, "targets": np.array([[mask]] * len(texts), dtype=object)},
        )
        yield (
            signatures.MASKED_LM_HEAD.name,
            {
                "hidden_states": np.zeros([1, 1, inference.hidden_size], np.float32),
                "mask_positions": np.zeros([1, masks], np.int32),
            },
        )
        yield signatures.ENCODE.name, {"text": np.array(texts_of(masks), dtype=object)}
    # The two signatures without a program of their own, once, so that their first use is not the slowest.
    yield signatures.TOKENIZE.name, {"text": np.array([text(1)], dtype=object)}
    yield signatures.PSEUDO_LOG_LIKELIHOOD.name, {"text": np.array([text(1)], dtype=object)}


def check_warmup(inference: Inference) -> None:
    """A `ValueError` where the buckets need more records than TF-Serving replays."""
    count = sum(1 for _ in warmup_inputs(inference))
    if count > MAX_RECORDS:
        raise ValueError(
            f"TF-Serving replays at most {MAX_RECORDS} warm-up records. Received: buckets that need "
            f"{count} ({inference.buckets}). Choose fewer buckets."
        )


def write_warmup(inference: Inference, version_directory: Path, model_name: str) -> int:
    """Writes the records of `warmup_inputs`; returns their number."""
    path = version_directory / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in warmup_inputs(inference):
            writer.write(_record(model_name, signature, inputs).SerializeToString())
            count += 1
    return count


def _record(model_name: str, signature: str, inputs: dict[str, Any]) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
