"""A running server seen from outside: typed gRPC calls, and HTTP requests sent exactly as given."""

from __future__ import annotations

import dataclasses
import functools
import http.client
import json
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import wrappers_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
TIMEOUT = 30.0  # seconds for one request; a server under test may share its machine


@dataclasses.dataclass(frozen=True)
class Reply:
    """One HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", errors="surrogateescape")

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise AssertionError(f"the body is not JSON ({error}): {self.text[:300]!r}") from None

    @property
    def error(self) -> str:
        """The text of an error body, which holds this one key."""
        value = self.json
        assert isinstance(value, dict), f"expected an error body, got {self.text[:300]!r}"
        assert list(value) == ["error"], f"expected an error body, got {self.text[:300]!r}"
        return str(value["error"])


def model_spec(
    name: str, signature: str = "", version: int | None = None, label: str | None = None
) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature)
    if version is not None:
        spec.version.CopyFrom(wrappers_pb2.Int64Value(value=version))
    if label is not None:
        spec.version_label = label
    return spec


def examples_input(*features: Mapping[str, Any], context: Mapping[str, Any] | None = None) -> input_pb2.Input:
    """Feature mappings (floats, ints or bytes) as the input of Classify, Regress and MultiInference."""
    examples = [tf.train.Example(features=feature_proto(values)) for values in features]
    if context is None:
        return input_pb2.Input(example_list=input_pb2.ExampleList(examples=examples))
    with_context = input_pb2.ExampleListWithContext(
        examples=examples, context=tf.train.Example(features=feature_proto(context))
    )
    return input_pb2.Input(example_list_with_context=with_context)


def feature_proto(values: Mapping[str, Any]) -> tf.train.Features:
    features = tf.train.Features()
    for name, value in values.items():
        items = value if isinstance(value, list) else [value]
        if items and isinstance(items[0], float):
            features.feature[name].float_list.value.extend(items)
        elif items and isinstance(items[0], int):
            features.feature[name].int64_list.value.extend(items)
        else:
            features.feature[name].bytes_list.value.extend(items)
    return features


class Server:
    """Both ports of a server. Connections open on first use; `close` ends them."""

    def __init__(
        self,
        grpc_address: str,
        rest_address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Iterable[tuple[str, Any]] = (),
    ) -> None:
        self.grpc_address = grpc_address
        self.rest_address = rest_address
        self._credentials = credentials
        self._options = [*UNLIMITED, *options]

    @functools.cached_property
    def channel(self) -> grpc.Channel:
        if self._credentials is not None:
            return grpc.secure_channel(self.grpc_address, self._credentials, options=self._options)
        return grpc.insecure_channel(self.grpc_address, options=self._options)

    @functools.cached_property
    def prediction(self) -> Any:
        return prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    @functools.cached_property
    def models(self) -> Any:
        return model_service_pb2_grpc.ModelServiceStub(self.channel)

    def close(self) -> None:
        if "channel" in self.__dict__:
            self.channel.close()

    def predict_protos(
        self,
        spec: model_pb2.ModelSpec | None,
        inputs: Mapping[str, Any],
        output_filter: Iterable[str] = (),
        timeout: float = TIMEOUT,
    ) -> predict_pb2.PredictResponse:
        """Predict with ready-made `TensorProto`s, so that a case decides on every field."""
        request = predict_pb2.PredictRequest(model_spec=spec, output_filter=list(output_filter))
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(value)
        return self.prediction.Predict(request, timeout=timeout)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
        output_filter: Iterable[str] = (),
        timeout: float = TIMEOUT,
    ) -> dict[str, np.ndarray]:
        """Predict with arrays in and out; Python floats are sent as float32."""
        protos = {name: tensor_proto(value) for name, value in inputs.items()}
        spec = model_spec(model, signature, version, label)
        response = self.predict_protos(spec, protos, output_filter, timeout)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def classify(self, spec: model_pb2.ModelSpec | None, data: input_pb2.Input) -> Any:
        request = classification_pb2.ClassificationRequest(model_spec=spec, input=data)
        return self.prediction.Classify(request, timeout=TIMEOUT)

    def regress(self, spec: model_pb2.ModelSpec | None, data: input_pb2.Input) -> Any:
        request = regression_pb2.RegressionRequest(model_spec=spec, input=data)
        return self.prediction.Regress(request, timeout=TIMEOUT)

    def multi_inference(
        self, tasks: Iterable[tuple[model_pb2.ModelSpec, str]], data: input_pb2.Input
    ) -> inference_pb2.MultiInferenceResponse:
        """`tasks` are pairs of a model spec and a method name."""
        request = inference_pb2.MultiInferenceRequest(
            tasks=[
                inference_pb2.InferenceTask(model_spec=spec, method_name=method) for spec, method in tasks
            ],
            input=data,
        )
        return self.prediction.MultiInference(request, timeout=TIMEOUT)

    def metadata(self, spec: model_pb2.ModelSpec | None, *fields: str) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=fields)
        return self.prediction.GetModelMetadata(request, timeout=TIMEOUT)

    def status(self, spec: model_pb2.ModelSpec | None) -> Any:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return self.models.GetModelStatus(request, timeout=TIMEOUT)

    def states(self, model: str) -> dict[int, str]:
        """Version → state name, newest version first; empty for a model nobody has heard of."""
        try:
            entries = self.status(model_spec(model)).model_version_status
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return {}
            raise
        names = get_model_status_pb2.ModelVersionStatus.State
        return {entry.version: names.Name(entry.state) for entry in entries}

    def reload(self, config: model_server_config_pb2.ModelServerConfig, timeout: float = TIMEOUT) -> Any:
        request = model_management_pb2.ReloadConfigRequest(config=config)
        return self.models.HandleReloadConfigRequest(request, timeout=timeout)

    def http(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request on a fresh connection; the path is sent exactly as given."""
        host, port = self.rest_address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
        data = body.encode("utf-8", errors="surrogateescape") if isinstance(body, str) else body
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if data is not None or method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(len(data or b"")))
            connection.endheaders(data)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.http("GET", path)

    def post(self, path: str, body: Any) -> Reply:
        """POST; anything but text and bytes is sent as JSON."""
        return self.http("POST", path, body if isinstance(body, str | bytes) else json.dumps(body))


def tensor_proto(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tf.make_tensor_proto(value)
    array = np.asarray(value)
    if array.dtype == np.float64:
        return tf.make_tensor_proto(array.astype(np.float32))
    return tf.make_tensor_proto(array.astype(np.int32) if array.dtype == np.int64 else value)
