"""Runs an export as stock TF-Serving does, in a TF1 session; a program of its own, as both switches last.

    python stock_session.py VERSION_DIRECTORY < JOB.json

The job: {"disable_xla": bool, "rewrite": bool, "dump": directory or null, "warmup": bool,
"random_requests": number, "signatures": [names]}. Rewriting graphs, as a stock server does, takes a hundred
times as long as answering; without `rewrite` they run as they were written.

Prints one JSON object. XLA writes one file per compilation into `dump`, which is how they are counted.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

job = json.load(sys.stdin)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
if job["dump"]:
    os.environ["XLA_FLAGS"] = f"--xla_dump_to={job['dump']} --xla_dump_hlo_as_text"

from tf_mlm.lean_import import import_tensorflow_alone  # noqa: E402

import_tensorflow_alone()
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_text  # noqa: E402, F401  (registers its operations, as the stock binary does)
from tensorflow_serving.apis import prediction_log_pb2  # noqa: E402

directory = Path(sys.argv[1])
TEXT = ["the [MASK] sat on a [MASK] .", "[MASK] dogs ran"]
INPUTS: dict[str, dict[str, Any]] = {
    "serving_default": {"text": TEXT},
    "score_targets": {"text": TEXT, "targets": [["cat", "dog"], ["the", "slow"]]},
    "pseudo_log_likelihood": {"text": ["the cat sat .", "a dog"]},
    "encode": {"text": TEXT},
    "tokenize": {"text": TEXT},
    "predict_masked": {
        "token_ids": np.array([[2, 5, 4, 3], [2, 4, 3, 0]], np.int32),
        "lengths": np.array([4, 3], np.int32),
        "segment_ids": np.zeros([2, 4], np.int32),
        "mask_positions": np.array([[2, 1], [1, 0]], np.int32),
    },
    "masked_lm_head": {
        "hidden_states": np.linspace(-1, 1, 2 * 3 * 16, dtype=np.float32).reshape(2, 3, 16),
        "mask_positions": np.array([[2, 0], [1, 1]], np.int32),
    },
}

if job["disable_xla"]:  # what tensorflow_model_server does at its start, without its XLA flag
    library = next(Path(tf.__file__).parent.glob("libtensorflow_cc.so*"))
    ctypes.CDLL(str(library))._ZN10tensorflow21DisableXlaCompilationEv()

config = tf.compat.v1.ConfigProto()
config.graph_options.rewrite_options.disable_meta_optimizer = not job["rewrite"]
session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
with session.graph.as_default():
    signatures = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(directory)).signature_def


def run(name: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    signature = signatures[name]
    feeds = {signature.inputs[alias].name: np.asarray(value) for alias, value in inputs.items()}
    return session.run({alias: info.name for alias, info in signature.outputs.items()}, feeds)


def compilations() -> int:
    return len(list(Path(job["dump"]).glob("*before_optimizations.txt"))) if job["dump"] else -1


def plain(value: np.ndarray) -> Any:
    return (
        np.vectorize(bytes.decode, otypes=[object])(value).tolist()
        if value.dtype == object
        else value.tolist()
    )


result: dict[str, Any] = {"answers": {}, "errors": {}}
if job["warmup"]:
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {alias: tf.make_ndarray(proto) for alias, proto in request.inputs.items()}
        run(request.model_spec.signature_name, inputs)
    result["after_warmup"] = compilations()
random = np.random.default_rng(0)
for _ in range(job["random_requests"]):
    batch = int(random.integers(1, 33))
    texts = []
    for _ in range(batch):
        words = random.choice(["the", "cat", "dogs", "."], size=int(random.integers(1, 15))).tolist()
        for _ in range(int(random.integers(1, 6))):
            words.insert(int(random.integers(0, len(words) + 1)), "[MASK]")
        texts.append(" ".join(words))
    name = str(random.choice(list(INPUTS)[:5]))
    inputs = {"text": texts}
    if name == "score_targets":
        inputs["targets"] = [["cat", "dog", "mat"]] * batch
    if name == "pseudo_log_likelihood":
        inputs["text"] = texts[:4]
    run(name, inputs)
result["after_requests"] = compilations()
for name in job["signatures"]:
    try:
        outputs = run(name, INPUTS[name.removesuffix("_portable")])
        result["answers"][name] = {alias: plain(value) for alias, value in outputs.items()}
    except tf.errors.OpError as error:
        result["errors"][name] = error.message
json.dump(result, sys.stdout)
