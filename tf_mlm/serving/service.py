"""What the server does, whatever the protocol: predict, classify, regress, metadata, status, reload.

gRPC and REST only translate to and from this class. Checks come in TF-Serving's order, with its
codes and texts, since clients match on them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2

from tf_mlm.serving import tensor_codec
from tf_mlm.serving.call import Call
from tf_mlm.serving.errors import Code, ServingError, invalid_argument
from tf_mlm.serving.freed_memory import FreedMemory
from tf_mlm.serving.input_limits import InputLimits
from tf_mlm.serving.metrics import Metrics
from tf_mlm.serving.models.manager import ModelManager
from tf_mlm.serving.models.servable import Servable
from tf_mlm.serving.models.served_signature import ServedSignature

DEFAULT_SIGNATURE = "serving_default"
_MAX_METRIC_NAMES = 1000
UNKNOWN_MODEL = "(unknown)"
PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

Given = TypeVar("Given")


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Which model, version and signature a request means."""

    name: str
    version: int | None = None
    label: str | None = None
    signature_name: str = DEFAULT_SIGNATURE

    @classmethod
    def from_request(cls, request: Any) -> ModelSpec:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        return cls.from_proto(request.model_spec)

    @classmethod
    def from_proto(cls, spec: Any) -> ModelSpec:
        choice = spec.WhichOneof("version_choice")
        return cls(
            spec.name,
            spec.version.value if choice == "version" else None,
            spec.version_label if choice == "version_label" else None,
            spec.signature_name or DEFAULT_SIGNATURE,
        )


class Service:
    """The protocol-independent core.

    Args:
        manager: leases servables and applies configurations.
        metrics: where runs are counted.
        check_method_names: enforce `SignatureDef.method_name`.
        limits: what the inputs of one request may ask for.
        max_request_seconds: no request is worked on for longer; 0 for no limit.

    Attributes:
        freed_memory: is told of every request that has ended.
    """

    def __init__(
        self,
        manager: ModelManager,
        metrics: Metrics,
        check_method_names: bool = False,
        limits: InputLimits | None = None,
        max_request_seconds: float = 0.0,
    ) -> None:
        self.manager = manager
        self.metrics = metrics
        self.check_method_names = check_method_names
        self.limits = limits or InputLimits()
        self.freed_memory = FreedMemory()
        self._max_request_seconds = max_request_seconds

    def call(self, timeout: float | None) -> Call:
        """The call of a request that its client waits for so many seconds (`None`: as long as it takes)."""
        return Call(timeout, limit=self._max_request_seconds)

    def count(self, model: str, code: Code, seconds: float, api: str, entrypoint: str) -> None:
        """Counts a request. Strangers choose its name: only configured models have series of their own."""
        model = model if not model or self.manager.knows(model) else UNKNOWN_MODEL
        self.metrics.request_count.add(model, code.name)
        if code is Code.OK:
            self.metrics.request_latency.observe(seconds * 1e6, model, api, entrypoint)

    @contextlib.contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[Servable]:
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        with self.manager.lease(spec.name, spec.version, spec.label) as servable:
            yield servable

    # ---- running -------------------------------------------------------------------------------

    def run(
        self,
        servable: Servable,
        api: str,
        feeds: Mapping[str, np.ndarray],
        fetches: Sequence[str],
        call: Call | None,
    ) -> list[np.ndarray]:
        """One graph run, measured."""
        start = time.perf_counter()
        values = servable.run(feeds, fetches, call)
        microseconds = (time.perf_counter() - start) * 1e6
        self.metrics.runtime_latency.observe(microseconds, servable.name, api, "TF1")
        self.metrics.graph_runs.add()
        self.metrics.graph_run_time_usecs.add(by=int(microseconds))
        return values

    def predict(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, Given],
        decode: Callable[[Given], np.ndarray],
        output_filter: Sequence[str] = (),
        call: Call | None = None,
    ) -> dict[str, np.ndarray]:
        """Output alias to array, for inputs by alias.

        Args:
            inputs: whatever the protocol received, by input alias.
            decode: turns one such value into an array, or raises `TensorError`.
            output_filter: aliases to return; empty for all.
            call: whose request this is.
        """
        signature = servable.signatures.get(signature_name)
        if signature is None:
            raise ServingError(
                Code.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.'
            )
        if self.check_method_names:
            check_method_name(signature)
        feeds = bind_inputs(signature, inputs, decode, self.limits)
        outputs = select_outputs(signature, output_filter)
        values = self.run(servable, "Predict", feeds, list(outputs.values()), call)
        return dict(zip(outputs, values, strict=True))

    # ---- asking about models -------------------------------------------------------------------

    def metadata(self, request: Any) -> Any:
        """GetModelMetadata."""
        spec = ModelSpec.from_request(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid_argument(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self.lease(spec) as servable:
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].ParseFromString(signature.serialized)
            response.model_spec.name = spec.name
            response.model_spec.version.value = servable.version
        response.metadata["signature_def"].Pack(signatures)
        return response

    def status(self, request: Any) -> Any:
        """GetModelStatus; labels are not looked at."""
        spec = ModelSpec.from_request(request)
        statuses = self.manager.statuses(spec.name)
        if spec.version is not None:
            statuses = [status for status in statuses if status.version == spec.version]
            if not statuses:
                raise ServingError(
                    Code.NOT_FOUND, f"Could not find version {spec.version} of model {spec.name}"
                )
        if not statuses:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in statuses:
            entry = response.model_version_status.add(version=status.version, state=int(status.state))
            entry.status.error_code = status.error.code if status.error else Code.OK
            entry.status.error_message = status.error.message if status.error else ""
        return response

    def reload(self, request: Any, abandoned: threading.Event | None = None) -> Any:
        """HandleReloadConfigRequest: the new model list replaces the old one.

        Args:
            abandoned: set once the client has gone; nothing is waited for from then on.
        """
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        if len(request.metric_names) > _MAX_METRIC_NAMES:
            raise invalid_argument(f"At most {_MAX_METRIC_NAMES} metric_names are taken")
        known = self.metrics.all()
        before = {name: known[name].first_value() if name in known else 0 for name in request.metric_names}
        self.manager.apply(request.config, abandoned)
        response = model_management_pb2.ReloadConfigResponse()
        for name, value in before.items():
            now = known[name].first_value() if name in known else 0
            response.metric.add(name=name, int64_value_increase=now - value)
        return response


def check_method_name(signature: ServedSignature) -> None:
    """Predict may run signatures of any of the three methods."""
    allowed = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if signature.method_name not in allowed:
        raise ServingError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(allowed)}}}. "
            f"Was: {signature.method_name}",
        )


def _joined(names: Any) -> str:
    return ",".join(sorted(names))


def bind_inputs(
    signature: ServedSignature,
    inputs: Mapping[str, Given],
    decode: Callable[[Given], np.ndarray],
    limits: InputLimits,
) -> dict[str, np.ndarray]:
    """Tensor name to array, for inputs by alias; a signature's `defaults` stand in for missing ones.

    Raises:
        ServingError: INVALID_ARGUMENT for a wrong number of inputs, an unknown or missing name, or
            a tensor that cannot be decoded or is beyond the limits.
    """
    wanted, defaults = signature.inputs, signature.defaults
    if len(inputs) > len(wanted) or (len(inputs) < len(wanted) and not defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(inputs)}!={len(wanted)} "
            f"len({{{_joined(inputs)}}}) != len({{{_joined(wanted)}}}). "
            f"Sent extra: {{{_joined(set(inputs) - set(wanted))}}}. "
            f"Missing but required: {{{_joined(set(wanted) - set(inputs))}}}."
        )
    found: dict[str, np.ndarray] = {}
    used = 0
    for alias, info in sorted(wanted.items()):
        if alias in inputs:
            used += 1
            try:
                found[alias] = decode(inputs[alias])
            except tensor_codec.TensorError as error:
                raise invalid_argument(f"tensor parsing error: {alias}: {error}") from error
        elif alias in defaults:
            found[alias] = tensor_codec.decode(tensor_codec.TensorProto.FromString(defaults[alias]))
        else:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {{{_joined(wanted)}}}, or default "
                f"input alias set: {{{_joined(defaults)}}}"
            )
    if used != len(inputs):
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_joined(set(wanted) & set(inputs))}, "
            f"request input: {_joined(inputs)}"
        )
    limits.check_feeds(wanted, found)
    return {wanted[alias].name: array for alias, array in found.items()}


def select_outputs(signature: ServedSignature, output_filter: Sequence[str]) -> dict[str, str]:
    """Output alias to tensor name, in the order asked for."""
    outputs = signature.outputs
    if not output_filter:
        return {alias: info.name for alias, info in outputs.items()}
    chosen: dict[str, str] = {}
    for alias in output_filter:
        if alias not in outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_joined(outputs)}}}."
            )
        if alias in chosen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        chosen[alias] = outputs[alias].name
    return chosen
