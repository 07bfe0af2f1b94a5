"""Asks a model over REST."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import httpcore
import numpy as np

from tf_mlm.serving.client import json_answer
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.http_exchange import BlockingHttp, TooLongError, WaitingHttp
from tf_mlm.serving.client.retry import Sleep, blocking_sleep, retry_unavailable
from tf_mlm.serving.client.target import Target
from tf_mlm.serving.client.transport import (
    Settings,
    SignatureSpec,
    TensorSpec,
    broken_answer,
    reading,
)
from tf_mlm.serving.errors import HTTP_STATUS, Code

_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())} | {
    500: Code.INTERNAL,
    413: Code.RESOURCE_EXHAUSTED,
}
_TOO_LONG = "Send fewer or smaller requests at once, or give the client a larger `max_answer_bytes`."


class RestTransport:
    """A `Transport` over HTTP. JSON carries no types: those of an unknown signature are asked for.

    Args:
        target: the address; a user and password in it are sent as basic authentication.
        settings: how it is asked.
        waits: whether it waits in the event loop that runs, else it blocks.
    """

    def __init__(self, target: Target, settings: Settings, *, waits: bool) -> None:
        self._target, self._settings = target, settings
        self._sleep: Sleep = asyncio.sleep if waits else blocking_sleep
        url = urllib.parse.urlsplit(f"{target.scheme}://{target.address}")
        # An answer is as long as its bytes say: nothing to unpack.
        host = url.netloc.rpartition("@")[2]
        self._headers: dict[bytes | str, bytes | str] = {"Host": host, "Accept-Encoding": "identity"}
        if url.username is not None:
            name, password = (urllib.parse.unquote(part or "") for part in (url.username, url.password))
            credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        kind = WaitingHttp if waits else BlockingHttp
        self._http: WaitingHttp | BlockingHttp = kind(
            _proxy(url), settings.tls.context() if target.has_tls else None, settings.max_answer_bytes
        )
        self._signatures: dict[str, SignatureSpec] = {}
        path = f"/v1/models/{urllib.parse.quote(target.name, safe='')}"
        if target.version is not None:
            path += f"/versions/{target.version}"
        elif target.label is not None:
            path += f"/labels/{urllib.parse.quote(target.label, safe='')}"
        self._url = f"{target.scheme}://{host}{path}"

    async def _ask(self, method: str, suffix: str, body: bytes | None = None) -> Any:
        headers = {**self._headers, "Content-Type": "application/json"} if body else self._headers

        async def once(seconds: float) -> bytes:
            with self._failing():
                status, content = await self._http.exchange(
                    method, self._url + suffix, headers, body, seconds
                )
            if status != 200:
                code = _CODES.get(status, Code.UNKNOWN)
                raise ClientError(code, json_answer.error_message(status, content), str(self._target))
            return content

        settings = self._settings
        content = await retry_unavailable(once, settings.timeout, settings.retries, self._sleep)
        with reading(self._target):
            return json.loads(content.decode("utf-8", "surrogateescape"))

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Whatever becomes of an exchange is a `ClientError`."""
        target = str(self._target)
        try:
            yield
        except httpcore.TimeoutException as error:
            connecting = httpcore.ConnectTimeout | httpcore.PoolTimeout
            code = Code.UNAVAILABLE if isinstance(error, connecting) else Code.DEADLINE_EXCEEDED
            raise ClientError(code, "No answer in time", target) from error
        except (httpcore.ConnectError, httpcore.ProxyError) as error:
            raise ClientError(Code.UNAVAILABLE, str(error), target) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise ClientError(Code.UNKNOWN, str(error), target) from error
        except TooLongError as error:
            raise ClientError(Code.RESOURCE_EXHAUSTED, str(error), target, hint=_TOO_LONG) from error

    async def predict(
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
        answer = await self._ask("POST", ":predict", json.dumps(body, ensure_ascii=False).encode())
        with reading(self._target):
            found = answer["outputs"]
            if outputs is not None:
                return json_answer.arrays(found, outputs, partly=True)
        was_known = signature in self._signatures
        try:
            return json_answer.arrays(found, await self._outputs(signature), partly=False)
        except (ValueError, TypeError, LookupError):
            if not was_known:
                raise
        # A newer version may have other outputs than the one whose types were asked for.
        self._signatures = {}
        with reading(self._target):
            return json_answer.arrays(found, await self._outputs(signature), partly=False)

    async def _outputs(self, signature: str) -> Mapping[str, TensorSpec]:
        if signature not in self._signatures:
            self._signatures = await self.metadata()
        if signature not in self._signatures:
            raise broken_answer(f"its metadata lack the signature {signature}", self._target)
        return self._signatures[signature].outputs

    async def status(self) -> list[dict[str, Any]]:
        answer = await self._ask("GET", "")
        with reading(self._target):
            return [
                {
                    "version": int(entry["version"]),
                    "state": str(entry["state"]),
                    "error": str(entry["status"]["error_message"]),
                }
                for entry in answer["model_version_status"]
            ]

    async def metadata(self) -> dict[str, SignatureSpec]:
        answer = await self._ask("GET", "/metadata")
        with reading(self._target):
            return {
                name: SignatureSpec(_specs(signature["inputs"]), _specs(signature["outputs"]))
                for name, signature in answer["metadata"]["signature_def"]["signature_def"].items()
            }

    async def close(self) -> None:
        await self._http.close()


def _proxy(url: urllib.parse.SplitResult) -> str | None:
    """The proxy that the environment names for a server."""
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(url.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    specs = {}
    for alias, info in infos.items():
        shape = info["tensor_shape"]
        sizes = None if shape["unknown_rank"] else tuple(int(dim["size"]) for dim in shape["dim"])
        specs[alias] = TensorSpec(info["dtype"].removeprefix("DT_").lower(), sizes)
    return specs
