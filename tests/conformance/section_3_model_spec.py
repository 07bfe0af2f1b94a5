"""Sections 3.1 and 3.2: the gRPC transport, and which model, version and signature a request reaches."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, session_service_pb2

from conformance.case import Needs, Section
from conformance.expectations import close, equal, rpc_error
from conformance.server import Server, model_spec

transport = Section("3.1 Transport", Needs.SERVER)
specs = Section("3.2 Model specs", Needs.SERVER)

ZERO = {"x": tf.make_tensor_proto([0.0], dtype=tf.float32)}


@transport.case("SessionService is not registered")
def _(server: Server) -> None:
    call = server.channel.unary_unary(
        "/tensorflow.serving.SessionService/SessionRun",
        request_serializer=session_service_pb2.SessionRunRequest.SerializeToString,
        response_deserializer=session_service_pb2.SessionRunResponse.FromString,
    )
    rpc_error(lambda: call(session_service_pb2.SessionRunRequest(), timeout=10), "UNIMPLEMENTED")


@transport.case("reflection is not registered")
def _(server: Server) -> None:
    call = server.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    rpc_error(lambda: list(call(iter([b""]), timeout=10)), "UNIMPLEMENTED")


@transport.case("messages of 16 MB pass in both directions")
def _(server: Server) -> None:
    values = np.arange(4_000_000, dtype=np.float32)
    answer = server.predict("dtypes", {"x": values}, signature="float32", timeout=60)
    equal(bool(np.array_equal(answer["y"], values)), True, "echo of four million floats")


@transport.case("error texts beyond 1024 characters are cut and marked")
def _(server: Server) -> None:
    details = rpc_error(
        lambda: server.predict("half_plus_two", {"x": [2.0]}, signature="s" * 3000), "FAILED_PRECONDITION"
    )
    full = 'Serving signature key "' + "s" * 3000
    equal(details, full[:1024] + "...TRUNCATED", "error text")


@transport.case("error texts of exactly 1024 characters are whole")
def _(server: Server) -> None:
    length = 1024 - len('Serving signature key "" not found.')
    details = rpc_error(
        lambda: server.predict("half_plus_two", {"x": [2.0]}, signature="s" * length), "FAILED_PRECONDITION"
    )
    equal(details, f'Serving signature key "{"s" * length}" not found.', "error text")


@transport.case("a deadline that passes during the run: DEADLINE_EXCEEDED")
def _(server: Server) -> None:
    inputs = {"x": [1.0], "steps": [3000]}
    rpc_error(lambda: server.predict("slow", inputs, timeout=0.3), "DEADLINE_EXCEEDED")
    close(server.predict("slow", {"x": [1.0], "steps": [1]})["y"], [1.0], "the next request")


@transport.case("bytes that are no request are refused, the connection survives")
def _(server: Server) -> None:
    call = server.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    details = rpc_error_of_any(lambda: call(b"\xff\xff\xff\xff", timeout=10))
    assert details in ("INTERNAL", "INVALID_ARGUMENT"), f"status of an unparsable request: {details}"
    close(server.predict("half_plus_two", {"x": [2.0]})["y"], [3.0], "the next request")


def rpc_error_of_any(call) -> str:  # type: ignore[no-untyped-def]
    import grpc

    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    raise AssertionError("expected an error, got an answer")


@specs.case("no model_spec at all")
def _(server: Server) -> None:
    rpc_error(lambda: server.predict_protos(None, ZERO), "INVALID_ARGUMENT", "Missing ModelSpec")


@specs.case("a model_spec without a name")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict_protos(model_pb2.ModelSpec(), ZERO),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    )


@specs.case("no version: the highest available one")
def _(server: Server) -> None:
    close(server.predict("counter", {"x": [0.0]})["y"], [3.0])


@specs.case("every version by number, 0 included")
def _(server: Server) -> None:
    for version in (0, 1, 2, 3):
        close(
            server.predict("counter", {"x": [0.0]}, version=version)["y"],
            [float(version)],
            f"version {version}",
        )


@specs.case("labels")
def _(server: Server) -> None:
    close(server.predict("counter", {"x": [0.0]}, label="stable")["y"], [1.0], "stable")
    close(server.predict("counter", {"x": [0.0]}, label="canary")["y"], [2.0], "canary")
    close(server.predict("counter", {"x": [0.0]}, label="same/as:stable")["y"], [1.0], "same/as:stable")


@specs.case("an unknown label")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("counter", {"x": [0.0]}, label="nobody"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: nobody",
    )


@specs.case("a label of an unknown model")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("nobody", {"x": [0.0]}, label="stable"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    )


@specs.case("no label is implied: `stable` is unknown where nobody assigned it")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("half_plus_two", {"x": [0.0]}, label="stable"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    )


@specs.case("a label whose version is not loaded")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("counter", {"x": [0.0]}, label="missing"),
        "NOT_FOUND",
        "Servable not found for request: Specific(counter, 9)",
    )


@specs.case("an unknown model")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("nobody", {"x": [0.0]}),
        "NOT_FOUND",
        "Servable not found for request: Latest(nobody)",
    )


@specs.case("an unknown version")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("counter", {"x": [0.0]}, version=77),
        "NOT_FOUND",
        "Servable not found for request: Specific(counter, 77)",
    )


@specs.case("names are case-sensitive")
def _(server: Server) -> None:
    rpc_error(
        lambda: server.predict("Counter", {"x": [0.0]}),
        "NOT_FOUND",
        "Servable not found for request: Latest(Counter)",
    )


@specs.case("the response names model, version and signature, with the default filled in")
def _(server: Server) -> None:
    response = server.predict_protos(model_spec("counter"), ZERO)
    equal(response.model_spec, model_spec("counter", "serving_default", version=3), "model_spec")
    response = server.predict_protos(model_spec("counter", "serving_default", version=0), ZERO)
    equal(response.model_spec, model_spec("counter", "serving_default", version=0), "model_spec")


@specs.case("the response to a label gives the version, never the label")
def _(server: Server) -> None:
    response = server.predict_protos(model_spec("counter", label="canary"), ZERO)
    equal(response.model_spec, model_spec("counter", "serving_default", version=2), "model_spec")


@specs.case("predict_streamed_options, client_id and request_options are ignored")
def _(server: Server) -> None:
    request = predict_pb2.PredictRequest(model_spec=model_spec("counter"))
    request.inputs["x"].CopyFrom(ZERO["x"])
    names = {field.name for field in request.DESCRIPTOR.fields}
    if "client_id" in names:
        request.client_id = b"somebody"
    if "predict_streamed_options" in names:
        request.predict_streamed_options.SetInParent()
    if "request_options" in names:
        request.request_options.SetInParent()
    equal(list(server.prediction.Predict(request, timeout=30).outputs["y"].float_val), [3.0], "y")


SECTIONS = (transport, specs)
