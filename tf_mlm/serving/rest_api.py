"""The REST door: TF-Serving's paths and bodies, translated to the core.

A bare ASGI application, since the grammar works on the raw path with its query string. `answer`
does all the work without a socket; the application around it reads the body, keeps the limits and
runs `answer` on a thread, as a graph run blocks.
"""

from __future__ import annotations

import dataclasses
import re
import time
import urllib.parse
import zlib
from typing import Any

import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    regression_pb2,
)

from tf_mlm.serving import json_request, json_writer
from tf_mlm.serving.access_log import AccessLog
from tf_mlm.serving.errors import Code, ServingError, as_serving_error, invalid_argument
from tf_mlm.serving.example_service import ExampleService
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.service import DEFAULT_SIGNATURE, ModelSpec, Service

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"
_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_INFERENCE = re.compile(rf"{_MODEL}:(classify|regress|predict)", re.IGNORECASE | re.ASCII | re.DOTALL)
_ABOUT = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_MAX_INFLATED = 100 * 2**20
_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)


@dataclasses.dataclass(frozen=True)
class Request:
    """An HTTP request: method, path with its query string, lower-case header names, body."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class Reply:
    """Status, content type, body, and headers beyond these."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class _BadVersion(ServingError):
    """The one error whose body stays empty."""


def html(status: int, title: str) -> Reply:
    """The page the HTTP library itself would answer with."""
    page = f"<HTML><HEAD>\n<TITLE>{status} {title}</TITLE>\n</HEAD><BODY>\n<H1>{title}</H1>\n</BODY></HTML>\n"
    return Reply(status, page.encode(), "text/html", (("Connection", "close"),))


def inflate(body: bytes) -> bytes:
    """A gzip body; what cannot be inflated, or is larger than 100 MiB, counts as empty."""
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        inflated = inflater.decompress(body, _MAX_INFLATED + 1)
    except zlib.error:
        return b""
    return inflated if inflater.eof and len(inflated) <= _MAX_INFLATED else b""


def _unquote(text: str | None) -> str | None:
    if text is None:
        return None
    return urllib.parse.unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "surrogateescape")


def _int64(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    # The length first: Python itself refuses to convert thousands of digits.
    if len(significant) > len(str(2**63)) or int(significant) >= 2**63:
        raise _BadVersion(Code.INVALID_ARGUMENT, f"Failed to convert version: {digits} to numeric.")
    return int(significant)


@dataclasses.dataclass(frozen=True)
class _Target:
    """What a path means: a model, and what to do with it."""

    spec: ModelSpec
    method: str


def parse_target(method: str, target: str) -> _Target | None:
    """The meaning of a method and path, `None` if they have none.

    Example:
        >>> from tf_mlm.serving.rest_api import parse_target
        >>> parse_target("POST", "/v1/models/mlm/versions/3:predict").spec
        ModelSpec(name='mlm', version=3, label=None, signature_name='serving_default')
    """
    pattern = {"POST": _INFERENCE, "GET": _ABOUT}.get(method)
    found = pattern.fullmatch(target) if pattern else None
    if found is None:
        return None
    name, version, label, action = found.groups()
    number = None if version is None else _int64(version)
    spec = ModelSpec(_unquote(name) or "", number, _unquote(label))
    return _Target(spec, action or "")


class RestApi:
    """Answers requests under `/v1/` and the metrics page."""

    def __init__(self, service: Service, options: ServerOptions, access_log: AccessLog) -> None:
        self._service = service
        self._examples = ExampleService(service)
        self._options = options
        self._access_log = access_log
        self._timeout = options.rest_api_timeout if options.rest_api_timeout > 0 else None

    def answer(self, request: Request, peer: str = "") -> Reply:
        """The reply to a request; never raises."""
        path, _, query = request.target.partition("?")
        if self._options.prometheus_path and path == self._options.prometheus_path:
            return self._metrics_page(request.target, bool(query) or request.target.endswith("?"))
        if request.method in ("TRACE", "CONNECT"):
            return html(501, "Not Implemented")
        if request.target[:4].lower() != "/v1/":
            return html(404, "Not Found")
        cors = _CORS if self._options.rest_api_enable_cors_support else ()
        if request.method == "OPTIONS":
            origin = request.headers.get("origin", "")
            allowed = "http://" in origin or "https://" in origin
            return Reply(200 if allowed else 400, b"", "", cors)
        start = time.perf_counter()
        target: _Target | None = None
        error: ServingError | None = None
        body = ""
        try:
            target = parse_target(request.method, request.target)
            if target is None:
                raise invalid_argument(f"Malformed request: {request.method} {request.target}")
            body = self._dispatch(request, target)
        except Exception as caught:
            error = as_serving_error(caught)
            body = "" if isinstance(error, _BadVersion) else json_writer.error(error)
        self._record(request, target, error, time.perf_counter() - start, peer)
        status = error.http_status if error else 200
        return Reply(status, body.encode("utf-8", "surrogateescape"), headers=cors)

    def _record(
        self, request: Request, target: _Target | None, error: ServingError | None, seconds: float, peer: str
    ) -> None:
        name, method = (target.spec.name, target.method) if target else ("", "")
        method = method if request.method == "POST" else ""
        # A path may name a model in any bytes; metrics and logs are text.
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        code = error.code if error else Code.OK
        self._service.metrics.request_count.add(name, code.name)
        if error is None:
            self._service.metrics.request_latency.observe(seconds * 1e6, name, method, "REST")
        self._access_log.write(
            "rest", request.method, name, code.name, seconds, peer=lambda: peer, path=request.target
        )

    def _metrics_page(self, target: str, has_query: bool) -> Reply:
        if has_query:
            text = f"Unexpected path: {target}. Should be {self._options.prometheus_path}"
            return Reply(400, text.encode("latin-1", "replace"), "text/plain")
        return Reply(200, self._service.metrics.page().encode(), "text/plain")

    # ---- the actions ---------------------------------------------------------------------------

    def _dispatch(self, request: Request, target: _Target) -> str:
        if request.method == "GET":
            return self._about(target)
        body = request.body
        if "gzip" in request.headers.get("content-encoding", ""):
            body = inflate(body)
        if target.method == "predict":
            return self._predict(target.spec, body)
        if target.method == "classify":
            classification = classification_pb2.ClassificationRequest()
            self._fill(classification, target.spec, body)
            return json_writer.classifications(
                self._examples.classify(classification, self._service.call(self._timeout)).result
            )
        if target.method == "regress":
            regression = regression_pb2.RegressionRequest()
            self._fill(regression, target.spec, body)
            return json_writer.regressions(
                self._examples.regress(regression, self._service.call(self._timeout)).result
            )
        # The pattern ignores case, the verb does not.
        raise invalid_argument(f"Malformed request: {request.method} {request.target}")

    def _fill(self, request: Any, spec: ModelSpec, body: bytes) -> None:
        _fill_spec(request.model_spec, spec)
        document = json_request.parse_object(body)
        name = json_request.signature_name(document)
        json_request.fill_examples(document, request)
        try:
            request.model_spec.signature_name = name
        except UnicodeEncodeError:  # bytes that are no UTF-8; no model can have such a signature
            with self._service.lease(spec):
                raise invalid_argument(f"No signature was found with the name: {name}") from None

    def _predict(self, spec: ModelSpec, body: bytes) -> str:
        document = json_request.parse_object(body)
        asked = json_request.signature_name(document)
        with self._service.lease(spec) as servable:
            name = asked or DEFAULT_SIGNATURE
            signature = servable.signatures.get(name)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            if not signature.inputs:
                raise invalid_argument(f"Failed to get input map for signature: {asked or 'DEFAULT'}")
            types = {alias: info.dtype for alias, info in sorted(signature.inputs.items())}
            inputs, row_form = json_request.predict_inputs(document, types)
            outputs = self._service.predict(
                servable, name, inputs, np.asarray, (), self._service.call(self._timeout)
            )
        return json_writer.predictions(outputs, row_form)

    def _about(self, target: _Target) -> str:
        if not target.spec.name:
            raise invalid_argument("Missing model name in request.")
        # `/METADATA` matches, but only the lower-case word is metadata.
        if target.method == "metadata":
            about = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
            _fill_spec(about.model_spec, target.spec)
            return json_writer.metadata(self._service.metadata(about))
        asked = get_model_status_pb2.GetModelStatusRequest()
        _fill_spec(asked.model_spec, target.spec)
        return json_writer.status(self._service.status(asked))


def _fill_spec(proto: Any, spec: ModelSpec) -> None:
    try:
        proto.name = spec.name
        if spec.version is not None:
            proto.version.value = spec.version
        if spec.label is not None:
            proto.version_label = spec.label
    except (UnicodeError, ValueError):
        # No model can have a name that is not UTF-8.
        raise ServingError(Code.NOT_FOUND, f"Servable not found for request: Latest({spec.name})") from None
