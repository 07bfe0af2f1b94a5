"""Runs exports as stock TF-Serving does, in TF1 sessions; a program of its own, as both switches last.

    python stock_session.py [--disable-xla] [--dump DIRECTORY] < JOBS > ANSWERS

One JSON object a line: {"directory": version directory, "rewrite": bool, "warmup": bool,
"random_requests": number, "signatures": [names]}; each is done in a session of its own. Rewriting graphs,
as a stock server does, takes a hundred times as long as answering; without `rewrite` they run as they were
written. Answers are lines as well.

XLA writes one file per compilation into the directory to dump to, which is how they are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--disable-xla", action="store_true", help="refuse whatever is to be compiled")
parser.add_argument("--dump", type=Path, help="where XLA writes what it compiles")
options = parser.parse_args()
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
if options.dump:
    os.environ["XLA_FLAGS"] = f"--xla_dump_to={options.dump} --xla_dump_hlo_as_text"

from tf_mlm.lean_import import import_tensorflow_alone  # noqa: E402

import_tensorflow_alone()
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_text  # noqa: E402, F401  (registers its operations, as the stock binary does)
from tensorflow_serving.apis import prediction_log_pb2  # noqa: E402

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

Run = Callable[[str, dict[str, Any]], dict[str, np.ndarray]]

if options.disable_xla:  # what tensorflow_model_server does at its start, without its XLA flag
    library = next(Path(tf.__file__).parent.glob("libtensorflow_cc.so*"))
    ctypes.CDLL(str(library))._ZN10tensorflow21DisableXlaCompilationEv()


def compilations() -> int:
    return len(list(options.dump.glob("*before_optimizations.txt"))) if options.dump else -1


def plain(value: np.ndarray) -> Any:
    return (
        np.vectorize(bytes.decode, otypes=[object])(value).tolist()
        if value.dtype == object
        else value.tolist()
    )


def warm_up(run: Run, directory: Path) -> None:
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {alias: tf.make_ndarray(proto) for alias, proto in request.inputs.items()}
        run(request.model_spec.signature_name, inputs)


def ask_at_random(run: Run, requests: int) -> None:
    random = np.random.default_rng(0)
    for _ in range(requests):
        batch = int(random.integers(1, 33))
        texts = []
        for _ in range(batch):
            words = random.choice(["the", "cat", "dogs", "."], size=int(random.integers(1, 15))).tolist()
            for _ in range(int(random.integers(1, 6))):
                words.insert(int(random.integers(0, len(words) + 1)), "[MASK]")
            texts.append(" ".join(words))
        name = str(random.choice(list(INPUTS)[:5]))
        inputs: dict[str, Any] = {"text": texts}
        if name == "score_targets":
            inputs["targets"] = [["cat", "dog", "mat"]] * batch
        if name == "pseudo_log_likelihood":
            inputs["text"] = texts[:4]
        run(name, inputs)


def answer(job: dict[str, Any]) -> dict[str, Any]:
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = not job["rewrite"]
    with contextlib.closing(tf.compat.v1.Session(graph=tf.Graph(), config=config)) as session:
        with session.graph.as_default():
            loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], job["directory"])

        def run(name: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
            signature = loaded.signature_def[name]
            feeds = {signature.inputs[alias].name: np.asarray(value) for alias, value in inputs.items()}
            return session.run({alias: info.name for alias, info in signature.outputs.items()}, feeds)

        before = compilations()
        result: dict[str, Any] = {"answers": {}, "errors": {}}
        if job["warmup"]:
            warm_up(run, Path(job["directory"]))
            result["after_warmup"] = compilations() - before
        ask_at_random(run, job["random_requests"])
        result["after_requests"] = compilations() - before
        for name in job["signatures"]:
            try:
                outputs = run(name, INPUTS[name.removesuffix("_portable")])
                result["answers"][name] = {alias: plain(value) for alias, value in outputs.items()}
            except tf.errors.OpError as error:
                result["errors"][name] = error.message
    return result


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
