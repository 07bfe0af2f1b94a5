"""Warm-up records of every kind, replayed before a version is available."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.models import warmup
from tf_mlm.serving.models.cancellation import Canceller
from tf_mlm.serving.options import BatchingOptions
from tf_mlm.serving.server import ModelServer, ServerOptions

X = {"x": np.float32([2.0])}


def start_fails(code: Code, message: str, **options) -> None:
    options = {"max_num_load_retries": 0, "file_system_poll_wait": 0.05, "shutdown_grace": 1, **options}
    with pytest.raises(ServingError) as error:
        ModelServer(ServerOptions(**options)).start()
    assert (error.value.code, message in error.value.message) == (code, True), error.value


def predict_log(signature: str, inputs: dict) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "another name", signature
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return log


def example_log(field: str, signature: str) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, field).request
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(2.0)
    request.input.example_list.examples.append(example)
    spec = (
        request.tasks.add(method_name="tensorflow/serving/regress")
        if field == "multi_inference_log"
        else request
    )
    spec.model_spec.name, spec.model_spec.signature_name = "m", signature
    return log


def with_warmup(models: Path, base: Path, logs: list, version: str = "1") -> Path:
    hidden = base / f".{version}"
    base.mkdir(parents=True, exist_ok=True)
    shutil.copytree(models / "half_plus_two", hidden)
    extra = hidden / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())
    return hidden.rename(base / version)


def test_warm_up_runs_every_kind(serve, models: Path, tmp_path: Path) -> None:
    logs = [
        predict_log("", X),
        example_log("classify_log", "classify_x_to_y"),
        example_log("regress_log", "regress_x_to_y"),
        example_log("multi_inference_log", "regress_x_to_y"),
        prediction_log_pb2.PredictionLog(),
    ]
    path = with_warmup(models, tmp_path / "m", logs)
    served = serve(
        model_name="m",
        model_base_path=str(tmp_path / "m"),
        num_request_iterations_for_warmup=2,
        prometheus_path="/metrics",
    )
    page = served.http.get("/metrics").text
    assert f':tensorflow:serving:model_warmup_records_read{{model_path="{path}",status="OK"}} 10\n' in page
    served.server.stop()


def test_what_warm_up_prepares_is_what_requests_run(
    serve, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow prepares a run once for each set of outputs and of what is run beside them."""
    prepared: set[tuple[str, ...]] = set()
    begin = Canceller.begin

    def watched(canceller: Canceller, key: tuple[str, ...], tensors: Callable) -> object:
        prepared.add(key)
        return begin(canceller, key, tensors)

    monkeypatch.setattr(Canceller, "begin", watched)
    with_warmup(models, tmp_path / "m", [predict_log("", X)])
    served = serve(model_name="m", model_base_path=str(tmp_path / "m"))
    warmed = set(prepared)
    assert warmed
    reply = served.http.post("/v1/models/m:predict", json={"instances": [1.0]})
    assert reply.status_code == 200
    assert prepared == warmed
    served.server.stop()


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        ([predict_log("none", X)], 'Serving signature key "none" not found.'),
        ([predict_log("", {"x": ["text"]})], "Expects arg[0] to be float but string is provided"),
        ([b"\xff\xff"], "Failed to parse warmup record"),
        ([predict_log("", X)] * 1001, "Number of warmup records exceeds the maximum (1000) at "),
        (
            [prediction_log_pb2.PredictionLog(session_run_log=prediction_log_pb2.SessionRunLog())],
            "Unsupported log_type for warmup: ",
        ),
    ],
    ids=["signature", "dtype", "garbage", "too many", "kind"],
)
def test_a_failing_warm_up_fails_the_load(models: Path, tmp_path: Path, logs: list, message: str) -> None:
    with_warmup(models, tmp_path / "m", logs)
    start_fails(Code.UNKNOWN, message, model_base_path=str(tmp_path / "m"))


@pytest.mark.parametrize("batching", [None, BatchingOptions()])
def test_records_are_replayed_on_all_cores_but_never_merged(
    serve, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batching: BatchingOptions | None
) -> None:
    lock, most, running, both = threading.Lock(), 0, 0, threading.Barrier(2)

    def watched(service: object, log: object) -> None:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=20 if batching is None else 0.3)  # breaks unless two are here at once
        with lock:
            running -= 1

    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(warmup, "replay", watched)
    with_warmup(models, tmp_path / "m", [predict_log("", X)] * 4)
    serve(model_base_path=str(tmp_path / "m"), batching=batching).server.stop()
    assert most == (2 if batching is None else 1)


def test_a_warm_up_file_that_is_none(models: Path, tmp_path: Path, serve) -> None:
    path = with_warmup(models, tmp_path / "m", [])
    (path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"not records at all, but long enough")
    start_fails(
        Code.UNKNOWN,
        "Please verify your warmup data is in TFRecord format.",
        model_base_path=str(tmp_path / "m"),
    )
    served = serve(model_base_path=str(tmp_path / "m"), enable_model_warmup=False)
    assert served.predict("default", X)["y"].tolist() == [3.0]
    served.server.stop()
