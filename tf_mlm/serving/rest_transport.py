"""Asks a model over REST."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np

from tf_mlm.serving.client_error import ClientError
from tf_mlm.serving.errors import HTTP_STATUS, Code
from tf_mlm.serving.target import Target
from tf_mlm.serving.transport import SignatureSpec, TensorSpec, retry_unavailable

_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())} | {
    500: Code.INTERNAL,
    413: Code.RESOURCE_EXHAUSTED,
}
_DTYPES = {"float": "float32", "double": "float64", "string": "object", "half": "float16"}


class RestTransport:
    """A `Transport` over HTTP. JSON carries no types, so a signature's are asked for once."""

    def __init__(self, target: Target, timeout: float) -> None:
        self._target, self._timeout = target, timeout
        self._http = httpx.Client(base_url=f"{target.scheme}://{target.address}")
        self._signatures: dict[str, SignatureSpec] = {}
        path = f"/v1/models/{urllib.parse.quote(target.name, safe='')}"
        if target.version is not None:
            path += f"/versions/{target.version}"
        elif target.label is not None:
            path += f"/labels/{urllib.parse.quote(target.label, safe='')}"
        self._path = path

    def _ask(self, method: str, suffix: str, body: bytes | None = None) -> Any:
        def once(seconds: float) -> Any:
            try:
                response = self._http.request(method, self._path + suffix, content=body, timeout=seconds)
            except httpx.TimeoutException as error:
                code = Code.UNAVAILABLE if isinstance(error, httpx.ConnectTimeout) else Code.DEADLINE_EXCEEDED
                raise ClientError(code, "No answer in time", str(self._target)) from error
            except httpx.ConnectError as error:
                raise ClientError(Code.UNAVAILABLE, str(error), str(self._target)) from error
            except httpx.HTTPError as error:
                raise ClientError(Code.UNKNOWN, str(error), str(self._target)) from error
            if response.status_code == 200:
                return json.loads(response.content.decode("utf-8", "surrogateescape"))
            try:
                message = response.json()["error"]
            except (ValueError, KeyError, TypeError):
                message = response.text
            code = _CODES.get(response.status_code, Code.UNKNOWN)
            raise ClientError(code, message, str(self._target))

        return retry_unavailable(once, self._timeout)

    def predict(self, inputs: Mapping[str, np.ndarray], signature: str) -> dict[str, np.ndarray]:
        body = {
            "signature_name": signature,
            "inputs": {alias: _to_json(array) for alias, array in inputs.items()},
        }
        answer = self._ask("POST", ":predict", json.dumps(body).encode())["outputs"]
        if signature not in self._signatures:
            self._signatures = self.metadata()
        outputs = self._signatures[signature].outputs
        if len(outputs) == 1:
            answer = {next(iter(outputs)): answer}
        return {alias: _to_array(value, alias, outputs[alias]) for alias, value in answer.items()}

    def status(self) -> list[dict[str, Any]]:
        return [
            {
                "version": int(entry["version"]),
                "state": entry["state"],
                "error": entry["status"]["error_message"],
            }
            for entry in self._ask("GET", "")["model_version_status"]
        ]

    def metadata(self) -> dict[str, SignatureSpec]:
        answer = self._ask("GET", "/metadata")["metadata"]["signature_def"]["signature_def"]
        return {
            name: SignatureSpec(_specs(signature["inputs"]), _specs(signature["outputs"]))
            for name, signature in answer.items()
        }

    def close(self) -> None:
        self._http.close()


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    specs = {}
    for alias, info in infos.items():
        shape = info["tensor_shape"]
        sizes = None if shape["unknown_rank"] else tuple(int(dim["size"]) for dim in shape["dim"])
        specs[alias] = TensorSpec(info["dtype"].removeprefix("DT_").lower(), sizes)
    return specs


def _to_json(array: np.ndarray) -> Any:
    if array.dtype.kind in "OS":
        return _map(array.tolist(), _text)
    return array.tolist()


def _map(value: Any, change: Any) -> Any:
    return [_map(item, change) for item in value] if isinstance(value, list) else change(value)


def _text(value: bytes | str) -> Any:
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode("utf-8", "surrogateescape")


def _to_array(value: Any, alias: str, spec: TensorSpec) -> np.ndarray:
    if spec.dtype == "string":
        value = _map(value, _bytes)
    array = np.array(value, _DTYPES.get(spec.dtype, spec.dtype))
    if spec.shape is not None and array.size == 0 and array.ndim < len(spec.shape):
        # JSON cannot tell [2, 0, 10] from [2, 0].
        array = array.reshape(array.shape + (0,) * (len(spec.shape) - array.ndim))
    return array
