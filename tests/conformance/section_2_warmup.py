"""Section 2.8: recorded requests that a version must answer before it serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
    session_service_pb2,
)

from conformance.case import Needs, Section
from conformance.expectations import close, contains, equal, eventually
from conformance.fleet import Fleet, fleet
from conformance.launcher import Launcher
from conformance.server import examples_input, model_spec

warmup = Section("2.8 Warm-up", Needs.LAUNCHER)
Log = prediction_log_pb2.PredictionLog


def predict_record(signature: str = "", model: str = "anything") -> bytes:
    request = predict_pb2.PredictRequest(model_spec=model_spec(model, signature, version=99))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0], dtype=tf.float32))
    return Log(predict_log=prediction_log_pb2.PredictLog(request=request)).SerializeToString()


def example_records() -> list[bytes]:
    """A classify, a regress and a multi-inference record for `half_plus_two`."""
    data = examples_input({"x": 1.0})
    classify, regress = model_spec("m", "classify_x_to_y"), model_spec("m", "regress_x_to_y")
    classify_request = classification_pb2.ClassificationRequest(model_spec=classify, input=data)
    regress_request = regression_pb2.RegressionRequest(model_spec=regress, input=data)
    task = inference_pb2.InferenceTask(model_spec=regress, method_name="tensorflow/serving/regress")
    multi_request = inference_pb2.MultiInferenceRequest(tasks=[task], input=data)
    logs = (
        Log(classify_log=prediction_log_pb2.ClassifyLog(request=classify_request)),
        Log(regress_log=prediction_log_pb2.RegressLog(request=regress_request)),
        Log(multi_inference_log=prediction_log_pb2.MultiInferenceLog(request=multi_request)),
    )
    return [log.SerializeToString() for log in logs]


def session_run_record() -> bytes:
    log = prediction_log_pb2.SessionRunLog(request=session_service_pb2.SessionRunRequest())
    return Log(session_run_log=log).SerializeToString()


def write_records(version: Path, records: Sequence[bytes]) -> None:
    version.joinpath("assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)


def put_warmed(
    models: Fleet, name: str, write: Callable[[Path], None], source: str = "half_plus_two"
) -> None:
    """Serves version 1 of `name`, then adds a version 2 whose warm-up file `write` makes."""
    version = sorted(path.name for path in (models.launcher.repository.models / source).iterdir())[-1]
    copy = models.launcher.repository.copy_model
    copy(source, version, models.path(name, "1"))
    models.serve(name)
    fresh = copy(source, version, models.path(name, "making"))
    write(fresh)
    fresh.rename(models.path(name, "2"))


def warms(title: str, name: str, records: Callable[[], Sequence[bytes]]) -> None:
    def check(launcher: Launcher) -> None:
        models = fleet(launcher)
        put_warmed(models, name, lambda path: write_records(path, records()))
        models.expect_states(name, {2: "AVAILABLE", 1: "END"})

    warmup.add(title, check)


def fails(title: str, name: str, write: Callable[[Path], None], code: str, *parts: str) -> None:
    def check(launcher: Launcher) -> None:
        models = fleet(launcher)
        put_warmed(models, name, write)
        models.expect_failure(name, 2, code, *parts)
        eventually(lambda: equal(models.server.states(name), {2: "END", 1: "AVAILABLE"}))
        close(models.server.predict(name, {"x": [2.0]})["y"], [3.0], "the version before")

    warmup.add(title, check)


def write_garbage(version: Path) -> None:
    version.joinpath("assets.extra").mkdir()
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(
        b"this is not a record file at all" * 4
    )


warms(
    "predict records run; their model name and version are not looked up",
    "warm_predict",
    lambda: [predict_record()],
)
warms("classify, regress and multi-inference records run", "warm_examples", example_records)
warms("an empty file is fine", "warm_empty", list)
warms("a record of no kind is ignored", "warm_unset", lambda: [Log().SerializeToString(), predict_record()])
warms("1000 records are allowed", "warm_limit", lambda: [predict_record()] * 1000)
fails(
    "the 1001st record fails the load",
    "warm_many",
    lambda path: write_records(path, [predict_record()] * 1001),
    "INVALID_ARGUMENT",
    "Number of warmup records exceeds the maximum (1000) at ",
)
fails(
    "a record whose request fails, fails the load",
    "warm_failing",
    lambda path: write_records(path, [predict_record(signature="nothing")]),
    "FAILED_PRECONDITION",
    'Serving signature key "nothing" not found.',
)
fails(
    "a kind that cannot be replayed: UNIMPLEMENTED",
    "warm_session_run",
    lambda path: write_records(path, [session_run_record()]),
    "UNIMPLEMENTED",
    "Unsupported log_type for warmup: ",
)
fails(
    "a record that is no PredictionLog: INVALID_ARGUMENT",
    "warm_unparsable",
    lambda path: write_records(path, [b"\xff\xff\xff"]),
    "INVALID_ARGUMENT",
    "Failed to parse warmup record: ",
)
fails(
    "a file that is no TFRecord: DATA_LOSS",
    "warm_garbage",
    write_garbage,
    "DATA_LOSS",
    "Please verify your warmup data is in TFRecord format.",
)


@warmup.case("enable_model_warmup=false skips a file that would fail", needs=Needs.PROCESS)
def _(launcher: Launcher) -> None:
    base = launcher.directory("cold") / "m"
    path = launcher.repository.copy_model("half_plus_two", "00000123", base / "making")
    write_garbage(path)
    path.rename(base / "1")
    with launcher.running(
        f"--model_base_path={base}", "--model_name=m", "--enable_model_warmup=false", rest=False
    ) as process:
        close(process.predict("m", {"x": [2.0]})["y"], [3.0])


@warmup.case("a failing warm-up at start-up stops the server", needs=Needs.PROCESS)
def _(launcher: Launcher) -> None:
    base = launcher.directory("warm_start") / "m"
    path = launcher.repository.copy_model("half_plus_two", "00000123", base / "making")
    write_records(path, [predict_record(signature="nothing")])
    path.rename(base / "1")
    finished = launcher.run_with_ports(
        f"--model_base_path={base}", "--model_name=m", "--max_num_load_retries=0"
    )
    equal(finished.status, 255, "exit status")
    contains(finished.stdout, 'Serving signature key "nothing" not found.', what="standard output")


SECTIONS = (warmup,)
