"""Asks a model over REST."""

from __future__ import annotations

import base64
import json
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

import httpcore
import numpy as np

from tf_mlm.serving.client import json_answer
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.http_deadline import Clock, DeadlineBackend
from tf_mlm.serving.client.target import Target
from tf_mlm.serving.client.transport import (
    MAX_ANSWER_BYTES,
    SignatureSpec,
    TensorSpec,
    broken_answer,
    reading,
    retry_unavailable,
)
from tf_mlm.serving.errors import HTTP_STATUS, Code

_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())} | {
    500: Code.INTERNAL,
    413: Code.RESOURCE_EXHAUSTED,
}
_CONNECTIONS, _IDLE_CONNECTIONS, _IDLE_SECONDS = 100, 20, 5.0


class RestTransport:
    """A `Transport` over HTTP. JSON carries no types: those of an unknown signature are asked for.

    Args:
        target: the address; a user and password in it are sent as basic authentication.
        timeout: seconds of a whole call.
        max_answer_bytes: the most an answer may have.
    """

    def __init__(self, target: Target, timeout: float, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._target, self._timeout, self._max_answer_bytes = target, timeout, max_answer_bytes
        url = urllib.parse.urlsplit(f"{target.scheme}://{target.address}")
        # An answer is as long as its bytes say: nothing to unpack.
        host = url.netloc.rpartition("@")[2]
        self._headers: dict[bytes | str, bytes | str] = {"Host": host, "Accept-Encoding": "identity"}
        if url.username is not None:
            name, password = (urllib.parse.unquote(part or "") for part in (url.username, url.password))
            credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        self._clock = Clock()
        self._pool = _pool(url, self._clock)
        self._signatures: dict[str, SignatureSpec] = {}
        path = f"/v1/models/{urllib.parse.quote(target.name, safe='')}"
        if target.version is not None:
            path += f"/versions/{target.version}"
        elif target.label is not None:
            path += f"/labels/{urllib.parse.quote(target.label, safe='')}"
        self._url = f"{target.scheme}://{host}{path}"

    def _ask(self, method: str, suffix: str, body: bytes | None = None) -> Any:
        def once(seconds: float) -> tuple[int, bytes]:
            try:
                with self._clock.within(seconds):
                    return self._exchange(method, self._url + suffix, body, seconds)
            except httpcore.TimeoutException as error:
                connecting = httpcore.ConnectTimeout | httpcore.PoolTimeout
                code = Code.UNAVAILABLE if isinstance(error, connecting) else Code.DEADLINE_EXCEEDED
                raise ClientError(code, "No answer in time", str(self._target)) from error
            except (httpcore.ConnectError, httpcore.ProxyError) as error:
                raise ClientError(Code.UNAVAILABLE, str(error), str(self._target)) from error
            except (httpcore.NetworkError, httpcore.ProtocolError) as error:
                raise ClientError(Code.UNKNOWN, str(error), str(self._target)) from error

        def checked(seconds: float) -> bytes:
            status, content = once(seconds)
            if status != 200:
                code = _CODES.get(status, Code.UNKNOWN)
                raise ClientError(code, json_answer.error_message(status, content), str(self._target))
            return content

        content = retry_unavailable(checked, self._timeout)
        with reading(self._target):
            return json.loads(content.decode("utf-8", "surrogateescape"))

    def _exchange(self, method: str, url: str, body: bytes | None, seconds: float) -> tuple[int, bytes]:
        headers = {**self._headers, "Content-Type": "application/json"} if body else self._headers
        with self._pool.stream(
            method, url, headers=headers, content=body, extensions={"timeout": {"pool": seconds}}
        ) as response:
            content = bytearray()
            for piece in response.iter_stream():
                content += piece
                if len(content) > self._max_answer_bytes:
                    raise ClientError(
                        Code.RESOURCE_EXHAUSTED,
                        f"The answer has more than {self._max_answer_bytes} bytes",
                        str(self._target),
                        hint="Send fewer or smaller requests at once, or give the client a larger "
                        "`max_answer_bytes`.",
                    )
        return response.status, bytes(content)

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str,
        outputs: Mapping[str, TensorSpec] | None = None,
    ) -> dict[str, np.ndarray]:
        body = {
            "signature_name": signature,
            "inputs": {alias: json_answer.to_json(array) for alias, array in inputs.items()},
        }
        # As UTF-8, not as escapes: half the bytes, and no surrogates for a parser to put together.
        answer = self._ask("POST", ":predict", json.dumps(body, ensure_ascii=False).encode())
        with reading(self._target):
            found = answer["outputs"]
            if outputs is not None:
                return json_answer.arrays(found, outputs, partly=True)
        was_known = signature in self._signatures
        try:
            return json_answer.arrays(found, self._outputs(signature), partly=False)
        except (ValueError, TypeError, LookupError):
            if not was_known:
                raise
        # A newer version may have other outputs than the one whose types were asked for.
        self._signatures = {}
        with reading(self._target):
            return json_answer.arrays(found, self._outputs(signature), partly=False)

    def _outputs(self, signature: str) -> Mapping[str, TensorSpec]:
        if signature not in self._signatures:
            self._signatures = self.metadata()
        if signature not in self._signatures:
            raise broken_answer(f"its metadata lack the signature {signature}", self._target)
        return self._signatures[signature].outputs

    def status(self) -> list[dict[str, Any]]:
        answer = self._ask("GET", "")
        with reading(self._target):
            return [
                {
                    "version": int(entry["version"]),
                    "state": str(entry["state"]),
                    "error": str(entry["status"]["error_message"]),
                }
                for entry in answer["model_version_status"]
            ]

    def metadata(self) -> dict[str, SignatureSpec]:
        answer = self._ask("GET", "/metadata")
        with reading(self._target):
            return {
                name: SignatureSpec(_specs(signature["inputs"]), _specs(signature["outputs"]))
                for name, signature in answer["metadata"]["signature_def"]["signature_def"].items()
            }

    def close(self) -> None:
        self._pool.close()


def _pool(url: urllib.parse.SplitResult, clock: Clock) -> httpcore.ConnectionPool:
    """Connections to the server, or to the proxy that the environment names for it."""
    options: dict[str, Any] = {
        "max_connections": _CONNECTIONS,
        "max_keepalive_connections": _IDLE_CONNECTIONS,
        "keepalive_expiry": _IDLE_SECONDS,
        "network_backend": DeadlineBackend(clock),
    }
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(url.hostname or ""):
        return httpcore.ConnectionPool(**options)
    return httpcore.HTTPProxy(proxy if "://" in proxy else f"http://{proxy}", **options)


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    specs = {}
    for alias, info in infos.items():
        shape = info["tensor_shape"]
        sizes = None if shape["unknown_rank"] else tuple(int(dim["size"]) for dim in shape["dim"])
        specs[alias] = TensorSpec(info["dtype"].removeprefix("DT_").lower(), sizes)
    return specs
