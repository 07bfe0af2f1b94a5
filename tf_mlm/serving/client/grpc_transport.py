"""Asks a model over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tf_mlm.serving import tensor_codec
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.retry import blocking_sleep, retry_unavailable
from tf_mlm.serving.client.target import Target
from tf_mlm.serving.client.transport import (
    Settings,
    SignatureSpec,
    TensorSpec,
    broken_answer,
    reading,
)
from tf_mlm.serving.errors import Code
from tf_mlm.serving.input_limits import InputLimits

_TOO_LARGE = "Send fewer or smaller requests at once, or give the client a larger `max_answer_bytes`."


class GrpcTransport:
    """A `Transport` over one channel.

    Args:
        target: the address.
        settings: how it is asked.
        waits: whether it waits in the event loop that runs, else it blocks.
    """

    def __init__(self, target: Target, settings: Settings, *, waits: bool) -> None:
        self._target, self._settings, self._waits = target, settings, waits
        max_answer_bytes = settings.max_answer_bytes
        # What an answer may ask for beyond its bytes is bounded too, by the same number.
        self._limits = InputLimits(
            max_strings=max_answer_bytes // 8, max_expanded_elements=max_answer_bytes // 8
        )
        options = [
            ("grpc.max_receive_message_length", min(max_answer_bytes, 2**31 - 1)),
            ("grpc.max_send_message_length", -1),
            # Else a channel fails for a second without a look at the server, and so would each retry.
            ("grpc.initial_reconnect_backoff_ms", 100),
        ]
        channels: Any = grpc.aio if waits else grpc
        if target.has_tls:
            credentials = grpc.ssl_channel_credentials(*settings.tls.contents())
            self._channel = channels.secure_channel(target.address, credentials, options)
        else:
            self._channel = channels.insecure_channel(target.address, options)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self._channel)

    async def _ask(self, method: Callable[..., Any], request: Any) -> Any:
        spec = request.model_spec
        spec.name = self._target.name
        if self._target.version is not None:
            spec.version.value = self._target.version
        elif self._target.label is not None:
            spec.version_label = self._target.label

        async def once(seconds: float) -> Any:
            try:
                response = method(request, timeout=seconds)
                return await response if self._waits else response
            except grpc.RpcError as error:
                code, message = Code(error.code().value[0]), error.details() or ""
                # gRPC's own words for an answer beyond `grpc.max_receive_message_length`.
                too_large = "larger than max" in message and code is Code.RESOURCE_EXHAUSTED
                hint = _TOO_LARGE if too_large else None
                raise ClientError(code, message, str(self._target), hint=hint) from error

        sleep = asyncio.sleep if self._waits else blocking_sleep
        return await retry_unavailable(once, self._settings.timeout, self._settings.retries, sleep)

    async def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str,
        outputs: Mapping[str, TensorSpec] | None = None,
    ) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for alias, array in inputs.items():
            tensor_codec.encode(array, request.inputs[alias])
        response = await self._ask(self._prediction.Predict, request)
        with reading(self._target):
            return {
                alias: tensor_codec.decode(proto, self._limits)
                for alias, proto in response.outputs.items()
                if outputs is None or alias in outputs
            }

    async def status(self) -> list[dict[str, Any]]:
        response = await self._ask(self._model.GetModelStatus, get_model_status_pb2.GetModelStatusRequest())
        states = get_model_status_pb2.ModelVersionStatus.State
        with reading(self._target):
            return [
                {
                    "version": entry.version,
                    "state": states.Name(entry.state),
                    "error": entry.status.error_message,
                }
                for entry in response.model_version_status
            ]

    async def metadata(self) -> dict[str, SignatureSpec]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        response = await self._ask(self._prediction.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with reading(self._target):
            if not response.metadata["signature_def"].Unpack(signatures):
                raise broken_answer("its metadata hold no signatures", self._target)
            return {
                name: SignatureSpec(_specs(signature.inputs), _specs(signature.outputs))
                for name, signature in signatures.signature_def.items()
            }

    async def close(self) -> None:
        closed = self._channel.close()
        if self._waits:
            await closed


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        alias: TensorSpec(
            tensor_codec.data_type_name(info.dtype),
            None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim),
        )
        for alias, info in infos.items()
    }
