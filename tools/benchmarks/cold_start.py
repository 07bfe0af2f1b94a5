"""From nothing to ready: a fresh process loads a BERT-base export and runs its warm-up records."""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import interpreter
from benchmarks.contest import OURS, Contender, Outcome, compete
from benchmarks.machine import cores
from tf_mlm.config import Buckets, ModelConfig
from tf_mlm.export.quantization import quantize
from tf_mlm.export.saved_model import export
from tf_mlm.layers.int8_product import is_built_with_int8_product
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary

BUCKETS = Buckets(batch=(1, 8), length=(16, 32, 64), masks=(1, 8))
CACHE = "--tf_xla_persistent_cache_directory={} --tf_xla_persistent_cache_device_types=CPU"
ROUNDS = 3


def outcomes(peers: bool) -> Iterator[Outcome]:
    """As many records at a time as there are cores, one after the other, and with XLA's cache; and int8.

    The floor is a process that loads and answers without XLA: everything but compiling.
    """
    config = ModelConfig()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word"]
    tokens = special + [f"unused{index}" for index in range(config.vocab_size - len(special))]
    model = MaskedLM.from_config(config, seed=0, preprocessor=TextPreprocessor(Vocabulary(tokens)))
    with tempfile.TemporaryDirectory() as base_path, tempfile.TemporaryDirectory() as cache:
        path = export(model, base_path, buckets=BUCKETS)
        in_int8 = (
            export(quantize(model), base_path, buckets=BUCKETS, arithmetic="int8")
            if is_built_with_int8_product()
            else None
        )
        del model
        warm = functools.partial(_process, path, "serving_default", threads=cores())
        contenders: dict[str, Contender] = {
            OURS: warm,
            "one record at a time": functools.partial(warm, threads=1),
            "XLA's persistent cache": functools.partial(warm, flags=CACHE.format(cache)),
        }
        programs = len(BUCKETS.batch) * len(BUCKETS.length) + 4 * len(BUCKETS.masks)
        without_xla = functools.partial(_process, path, "serving_default_portable", threads=0)
        yield compete(
            f"cold start, BERT-base, {programs} programs",
            contenders,
            rounds=ROUNDS,
            seconds=3600.0,
            tolerance=1e-4,
            floor=lambda: 1e3 * _seconds(without_xla),
        )
        if in_int8 is not None:
            yield compete(
                f"cold start in int8, BERT-base, {programs} programs",
                {
                    OURS: functools.partial(_process, in_int8, "serving_default", threads=cores()),
                    f"{OURS} in float32": warm,
                },
                rounds=ROUNDS,
                seconds=3600.0,
                tolerance=0.01,
            )


def _process(path: Path, signature: str, *, threads: int, flags: str = "") -> np.ndarray:
    """Runs `start` in a process of its own; its answer."""
    name = "benchmarks.cold_start.start"
    return np.array(interpreter.call(name, str(path), signature, threads, flags=flags))


def _seconds(contender: Contender) -> float:
    started = time.perf_counter()
    contender()
    return time.perf_counter() - started


def start(path: str, signature: str, threads: int) -> None:
    """Loads a version, replays its warm-up records `threads` at a time, and prints one answer."""
    from concurrent.futures import ThreadPoolExecutor

    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers its operations)

    loaded = tf.saved_model.load(path)
    if threads:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(functools.partial(_replay, loaded), _records(Path(path))))
    answer = loaded.signatures[signature](text=tf.constant(["word [MASK] word"]))
    print(json.dumps(answer["scores"].numpy().tolist()))


def _records(version_directory: Path) -> Iterator[bytes]:
    import tensorflow as tf

    path = version_directory / "assets.extra" / "tf_serving_warmup_requests"
    return (record.numpy() for record in tf.data.TFRecordDataset(str(path)))


def _replay(loaded: object, record: bytes) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    inputs = {alias: tf.constant(tf.make_ndarray(tensor)) for alias, tensor in request.inputs.items()}
    loaded.signatures[request.model_spec.signature_name](**inputs)  # type: ignore[attr-defined]
