"""gRPC against a live server: every service, every error by code and text."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import ServingError

Status = grpc.StatusCode
X = {"x": np.float32([2.0])}
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def fails(call, request, code: grpc.StatusCode, message: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        call(request, timeout=30)
    assert (error.value.code(), message in error.value.details()) == (code, True), error.value.details()


def example(**features: list[float]) -> tf.train.Example:
    made = tf.train.Example()
    for name, values in features.items():
        made.features.feature[name].float_list.value.extend(values)
    return made


def with_examples(request, signature: str, *examples, model: str = "half_plus_two"):
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.input.example_list.examples.extend(examples)
    return request


# ---- Predict -----------------------------------------------------------------------------------


def test_predict(served) -> None:
    response = served.prediction.Predict(served.request("half_plus_two", X))
    assert list(response.outputs["y"].float_val) == [3.0]
    assert response.outputs["y"].dtype == types_pb2.DT_FLOAT
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("half_plus_two", 123, "serving_default")
    assert spec.WhichOneof("version_choice") == "version"


def test_output_filter(served) -> None:
    request = served.request("half_plus_two", X, "both")
    assert set(served.prediction.Predict(request).outputs) == {"y", "y2"}
    request.output_filter.append("y2")
    assert set(served.prediction.Predict(request).outputs) == {"y2"}
    request.output_filter.append("y2")
    fails(served.prediction.Predict, request, Status.INVALID_ARGUMENT, "duplicate output tensor alias: y2")
    request.output_filter[:] = ["z"]
    text = "output tensor alias not found in signature: z Outputs expected to be in the set {y,y2}."
    fails(served.prediction.Predict, request, Status.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        ({}, 4.0),
        ({"version": 1}, 3.0),
        ({"version": 2}, 4.0),
        ({"label": "old"}, 3.0),
        ({"label": "new"}, 4.0),
    ],
)
def test_versions_and_labels(served, spec: dict, answer: float) -> None:
    assert served.predict("versions", X, **spec)["y"].tolist() == [answer]


@pytest.mark.parametrize("shape", [[1], [], [2, 2], [3, 1]])
def test_shapes_are_not_validated(served, shape: list[int]) -> None:
    found = served.predict("half_plus_two", {"x": np.full(shape, 2.0, np.float32)})["y"]
    np.testing.assert_array_equal(found, np.full(shape, 3.0))


SIZES = (
    "input size does not match signature: {} len({{{}}}) != len({{x}}). "
    "Sent extra: {{{}}}. Missing but required: {{{}}}."
)
INVALID = Status.INVALID_ARGUMENT
PREDICT_ERRORS = [
    ("nobody", X, "", {}, Status.NOT_FOUND, "Servable not found for request: Latest(nobody)"),
    (
        "half_plus_two",
        X,
        "",
        {"version": 0},
        Status.NOT_FOUND,
        "Servable not found for request: Specific(half_plus_two, 0)",
    ),
    ("half_plus_two", X, "", {"label": "none"}, INVALID, "Unrecognized servable version label: none"),
    ("nobody", X, "", {"label": "old"}, INVALID, "Unrecognized servable version label: old"),
    ("", X, "", {}, INVALID, "ModelSpec has no name specified."),
    ("half_plus_two", X, "none", {}, Status.FAILED_PRECONDITION, 'Serving signature key "none" not found.'),
    ("half_plus_two", {}, "", {}, INVALID, SIZES.format("0!=1", "", "", "x")),
    ("half_plus_two", {**X, "b": 1, "a": 1}, "", {}, INVALID, SIZES.format("3!=1", "a,b,x", "a,b", "")),
    (
        "half_plus_two",
        {"z": 1.0},
        "",
        {},
        INVALID,
        "Signature input alias: x(feed name: x:0) not found in request",
    ),
    (
        "half_plus_two",
        {"x": np.int32([1])},
        "",
        {},
        INVALID,
        "Expects arg[0] to be float but int32 is provided",
    ),
    ("half_plus_two", {"x": ["a"]}, "", {}, INVALID, "Expects arg[0] to be float but string is provided"),
    ("half_plus_two", {"x": tensor_pb2.TensorProto()}, "", {}, INVALID, "tensor parsing error: x"),
    ("shapes", {"x": np.float32([-1.0])}, "refuse_negative", {}, INVALID, "x must not be negative"),
    ("shapes", {"x": np.zeros((2, 3), np.float32)}, "xla", {}, INVALID, ""),
    ("shapes", {"text": [b"\xff"]}, "number", {}, INVALID, "correctly convert string: \ufffd"),
]


@pytest.mark.parametrize(("model", "inputs", "signature", "spec", "code", "message"), PREDICT_ERRORS)
def test_predict_errors(served, model, inputs, signature, spec, code, message) -> None:
    fails(served.prediction.Predict, served.request(model, inputs, signature, **spec), code, message)


def test_missing_model_spec(served) -> None:
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
    fails(served.prediction.Predict, request, INVALID, "Missing ModelSpec")


def test_long_messages_are_cut(served) -> None:
    with pytest.raises(grpc.RpcError) as error:
        served.prediction.Predict(served.request("n" * 2000, X))
    assert len(error.value.details()) == 1024 + len("...TRUNCATED")


def test_every_type_and_both_spellings_of_a_tensor(served) -> None:
    values = {
        "float32": np.float32([1.5]),
        "float64": np.float64([0.1]),
        "int32": np.int32([-5]),
        "int64": np.int64([2**62]),
        "bool": np.array([True]),
        "string": np.array([b"\xff"], object),
        "uint8": np.uint8([200]),
        "uint32": np.uint32([2**32 - 1]),
        "uint64": np.uint64([2**64 - 1]),
    }
    found = served.predict("shapes", values, "types")
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_large_tensors(served) -> None:
    big = np.random.default_rng(0).normal(size=(1, 3_000_000)).astype(np.float32)
    np.testing.assert_array_equal(served.predict("shapes", {"x": big})["x"], big)


def test_a_deadline_cancels_the_run(served) -> None:
    request = served.request("shapes", {"rounds": np.int32([2_000_000_000])}, "slow")
    with pytest.raises(grpc.RpcError) as error:
        served.prediction.Predict(request, timeout=0.3)
    assert error.value.code() is Status.DEADLINE_EXCEEDED
    with served.server.manager.lease("shapes") as servable:
        info = servable.signatures["slow"]
        feeds = {info.inputs["rounds"].name: np.int32([2_000_000_000])}
        with pytest.raises(ServingError, match="Timed out waiting for notification"):
            servable.run(feeds, [info.outputs["rounds"].name], Call(0.2))


# ---- Classify, Regress, MultiInference ---------------------------------------------------------


def test_classify(served) -> None:
    request = with_examples(classification_pb2.ClassificationRequest(), "classify_x_to_y", example(x=[2.0]))
    response = served.prediction.Classify(request)
    (entry,) = response.result.classifications
    assert [(item.label, item.score) for item in entry.classes] == [("", 3.0)]
    assert response.model_spec.version.value == 123
    request.model_spec.signature_name = "classify_labelled"
    response = served.prediction.Classify(request)
    assert response.result.classifications[0].classes[0].label == "half"


def test_context_features_are_defaults(served) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "half_plus_two", "regress_x_to_y"
    given_list = request.input.example_list_with_context
    given_list.context.CopyFrom(example(x=[2.0]))
    given_list.examples.extend([tf.train.Example(), example(x=[6.0])])
    values = [item.value for item in served.prediction.Regress(request).result.regressions]
    assert values == [3.0, 5.0]


def test_multi_inference(served) -> None:
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.append(example(x=[2.0]))
    for signature, method in (("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY)):
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "half_plus_two", signature
    first, second = served.prediction.MultiInference(request).results
    assert first.regression_result.regressions[0].value == 3.0
    assert second.classification_result.classifications[0].classes[0].score == 3.0
    assert [r.model_spec.signature_name for r in (first, second)] == ["regress_x_to_y", "classify_x_to_y"]


def tasks(*specs: tuple[str, str, str]) -> inference_pb2.MultiInferenceRequest:
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.append(example(x=[2.0]))
    for name, signature, method in specs:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, signature
    return request


MODEL = "half_plus_two"


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (tasks(), INVALID, "ModelSpec has no name specified."),
        (
            tasks((MODEL, "regress_x_to_y", REGRESS), ("", "classify_x_to_y", CLASSIFY)),
            INVALID,
            "Found ModelSpec with an empty model name.",
        ),
        (
            tasks((MODEL, "regress_x_to_y", REGRESS), ("shapes", "classify_x_to_y", CLASSIFY)),
            INVALID,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            tasks(*[(MODEL, "regress_x_to_y", REGRESS)] * 2),
            INVALID,
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (tasks((MODEL, "none", REGRESS)), INVALID, "Requested signature not found in model graph: none"),
        (
            tasks((MODEL, "serving_default", "tensorflow/serving/predict")),
            Status.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
    ],
)
def test_multi_inference_errors(served, request_, code, message) -> None:
    fails(served.prediction.MultiInference, request_, code, message)


@pytest.mark.parametrize(
    ("model", "signature", "classify", "regress"),
    [
        ("half_plus_two", "none", "No signature was found with the name: none", None),
        ("half_plus_two", "serving_default", "No classification inputs found", "No regression inputs found"),
        ("shapes", "types", "Expected one input Tensor.", "Expected one input Tensor."),
        ("shapes", "echo", "Expected one or two output Tensors, found 3", "Expected one output Tensor."),
        ("half_plus_two", "regress_x_to_y", 'to contain at least one of "classes" or "scores"', None),
        ("half_plus_two", "classify_x_to_y", None, "No regression outputs found"),
        (
            "shapes",
            "wrong_scores",
            "Expected scores output batch size of 1. Got: 2",
            "No regression outputs found",
        ),
    ],
)
def test_classify_and_regress_signature_errors(served, model, signature, classify, regress) -> None:
    if classify:
        request = with_examples(classification_pb2.ClassificationRequest(), signature, example(), model=model)
        fails(served.prediction.Classify, request, INVALID, classify)
    if regress:
        request = with_examples(regression_pb2.RegressionRequest(), signature, example(), model=model)
        fails(served.prediction.Regress, request, INVALID, regress)


def test_empty_input(served) -> None:
    request = with_examples(classification_pb2.ClassificationRequest(), "classify_x_to_y")
    fails(served.prediction.Classify, request, INVALID, "Input is empty.")


# ---- metadata and status -----------------------------------------------------------------------


def metadata_request(name: str, *fields: str) -> get_model_metadata_pb2.GetModelMetadataRequest:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


def test_metadata(served) -> None:
    response = served.prediction.GetModelMetadata(metadata_request("shapes", "signature_def"))
    assert (response.model_spec.name, response.model_spec.version.value) == ("shapes", 1)
    assert response.model_spec.signature_name == ""
    assert set(response.metadata) == {"signature_def"}
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "xla", "__saved_model_init_op"} <= set(signatures.signature_def)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (get_model_metadata_pb2.GetModelMetadataRequest(), INVALID, "Missing ModelSpec"),
        (metadata_request("shapes"), INVALID, "must specify at least one metadata_field"),
        (metadata_request("shapes", "x"), INVALID, "Metadata field x is not supported"),
        (metadata_request("nobody", "signature_def"), Status.NOT_FOUND, "Latest(nobody)"),
    ],
)
def test_metadata_errors(served, request_, code, message) -> None:
    fails(served.prediction.GetModelMetadata, request_, code, message)


def status_request(name: str, version: int | None = None, label: str = ""):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    return request


def test_status(served) -> None:
    ask = served.model.GetModelStatus
    entries = ask(status_request("versions")).model_version_status
    assert [(e.version, e.state, e.status.error_code) for e in entries] == [(2, 30, 0), (1, 30, 0)]
    assert len(ask(status_request("versions", version=1)).model_version_status) == 1
    assert len(ask(status_request("versions", label="whatever")).model_version_status) == 2
    fails(ask, status_request("versions", 7), Status.NOT_FOUND, "Could not find version 7 of model versions")
    fails(ask, status_request("nobody"), Status.NOT_FOUND, "Could not find any versions of model nobody")
    fails(ask, get_model_status_pb2.GetModelStatusRequest(), INVALID, "Missing ModelSpec")


def test_reload_accepts_only_model_lists(served) -> None:
    request = model_management_pb2.ReloadConfigRequest()
    text = "ServerModelConfig type not supported by HandleReloadConfigRequest"
    fails(served.model.HandleReloadConfigRequest, request, INVALID, text)


def test_health(served) -> None:
    check = health_pb2_grpc.HealthStub(served.channel).Check
    for name in ("", "ModelService", "PredictionService"):
        answer = check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    fails(check, health_pb2.HealthCheckRequest(service="other"), Status.NOT_FOUND, "")


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_message_breaks_the_server(served, data) -> None:
    """Valid requests with bytes changed, cut and added; the server answers good ones afterwards."""
    whole = bytearray(served.request("half_plus_two", X).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(whole) - 1))
        whole[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        whole = whole or bytearray(b"\0")
    call = served.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    answer = call.future(bytes(whole), timeout=30)
    # gRPC itself answers INTERNAL when a message does not parse.
    assert answer.code() in (
        Status.OK,
        INVALID,
        Status.NOT_FOUND,
        Status.FAILED_PRECONDITION,
        Status.INTERNAL,
    )
    assert served.predict("half_plus_two", X)["y"].tolist() == [3.0]
