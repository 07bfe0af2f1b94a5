"""REST without a socket: TF-Serving's paths and bodies, translated to the core.

`answer` turns a request into a reply. The server around it reads bodies, keeps the limits and runs
`answer` on a thread, as a graph run blocks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    regression_pb2,
)

from tf_mlm.serving.access_log import AccessLog
from tf_mlm.serving.call import Call
from tf_mlm.serving.concurrency_limit import ConcurrencyLimit
from tf_mlm.serving.errors import Code, ServingError, as_serving_error, invalid_argument
from tf_mlm.serving.example_service import ExampleService
from tf_mlm.serving.options import ServerOptions
from tf_mlm.serving.rest.gzip_body import TooLargeError, inflate
from tf_mlm.serving.rest.json import request as json_request
from tf_mlm.serving.rest.json import writer as json_writer
from tf_mlm.serving.rest.message import Reply, Request, html
from tf_mlm.serving.rest.path import BadVersionError, ModelPath, parse_path
from tf_mlm.serving.service import DEFAULT_SIGNATURE, ModelSpec, Service

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"
# Bodies beyond this size, inflated, have few places of their own, so that short ones never wait for them, and
# are read one at a time.
LONG_BODY = 256 * 1024
_LONG_PLACES = 8  # one for so many places of short bodies
_MAX_LOGGED_PATH = 1024
_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)


class _LongBodyError(Exception):
    """A body that is, inflated, too long for the place that its request has."""


class RestApi:
    """Answers requests under `/v1/` and the metrics page."""

    def __init__(self, service: Service, options: ServerOptions, access_log: AccessLog) -> None:
        self._service = service
        self._examples = ExampleService(service)
        self._options = options
        self._access_log = access_log
        self._timeout = options.rest_api_timeout if options.rest_api_timeout > 0 else None
        self._max_body = options.rest_max_body_bytes
        self._max_values = options.rest_max_json_values
        self._places = ConcurrencyLimit(options.rest_api_num_threads)
        self._long_places = ConcurrencyLimit(max(1, options.rest_api_num_threads // _LONG_PLACES))
        self._long_bodies = threading.Lock()

    def new_call(self) -> Call:
        """A call whose time begins now."""
        return self._service.call(self._timeout)

    def close(self) -> None:
        """Ends what watches requests at work."""
        self._places.close()
        self._long_places.close()

    def answer(self, request: Request, peer: str = "", call: Call | None = None) -> Reply:
        """The reply to a request.

        Args:
            peer: the client, as logged.
            call: its deadline and cancellation.
        """
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
        start = request.start or time.perf_counter()
        target: ModelPath | None = None
        error: ServingError | None = None
        body = ""
        try:
            target = parse_path(request.method, request.target)
            if target is None:
                raise invalid_argument(f"Malformed request: {request.method} {request.target}")
            body = self._dispatch(request, target, call or self.new_call())
        except Exception as caught:
            error = as_serving_error(caught)
        self._service.freed_memory.request_ended(len(request.body))
        seconds = time.perf_counter() - start
        self.record(request.method, request.target, target, error, seconds, peer)
        if error is not None:
            return self.error_reply(error)
        return Reply(200, body.encode("utf-8", "surrogateescape"), headers=cors)

    def error_reply(self, error: ServingError, status: int | None = None, closes: bool = False) -> Reply:
        """What a client is told. Messages are whole, as in TF-Serving; a `ServingError` bounds its own."""
        body = "" if isinstance(error, BadVersionError) else json_writer.error(error.message)
        cors = _CORS if self._options.rest_api_enable_cors_support else ()
        status = error.http_status if status is None else status
        return Reply(status, body.encode("utf-8", "surrogateescape"), headers=cors, closes=closes)

    def record(
        self,
        method: str,
        path: str,
        target: ModelPath | None,
        error: ServingError | None,
        seconds: float,
        peer: str,
    ) -> None:
        """Counts a request and writes its line, whether it was answered or refused unread."""
        name, verb = (target.spec.name, target.action) if target else ("", "")
        verb = verb if method == "POST" else ""
        # A path may name a model in any bytes; metrics and logs are text.
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        code = error.code if error else Code.OK
        self._service.count(name, code, seconds, verb, "REST")
        path, name = path[:_MAX_LOGGED_PATH], name[:_MAX_LOGGED_PATH]
        self._access_log.write("rest", method, name, code.name, seconds, peer=lambda: peer, path=path)

    def _metrics_page(self, target: str, has_query: bool) -> Reply:
        if has_query:
            text = f"Unexpected path: {target}. Should be {self._options.prometheus_path}"
            return Reply(400, text.encode("latin-1", "replace"), "text/plain")
        return Reply(200, self._service.metrics.page().encode(), "text/plain")

    # ---- the actions ---------------------------------------------------------------------------

    def _dispatch(self, request: Request, target: ModelPath, call: Call) -> str:
        call.check()
        if request.method == "GET":
            return self._about(target)
        model = target.spec.name
        if len(request.body) <= LONG_BODY:
            with contextlib.suppress(_LongBodyError), self._places.place(call, model):
                return self._act(request, target, self._plain_body(request, False), call)
        with self._long_places.place(call, model):
            return self._act(request, target, self._plain_body(request, True), call)

    def _act(self, request: Request, target: ModelPath, body: bytes | bytearray, call: Call) -> str:
        call.check()
        if target.action == "predict":
            return self._predict(target.spec, body, call)
        if target.action == "classify":
            classification = classification_pb2.ClassificationRequest()
            self._fill(classification, target.spec, body, call)
            return json_writer.classifications(self._examples.classify(classification, call).result)
        if target.action == "regress":
            regression = regression_pb2.RegressionRequest()
            self._fill(regression, target.spec, body, call)
            return json_writer.regressions(self._examples.regress(regression, call).result)
        # The pattern ignores case, the verb does not.
        raise invalid_argument(f"Malformed request: {request.method} {request.target}")

    def _plain_body(self, request: Request, long: bool) -> bytes | bytearray:
        if "gzip" not in request.headers.get("content-encoding", ""):
            return request.body
        try:
            return inflate(request.body, self._max_body if long else LONG_BODY)
        except TooLargeError:
            if not long:
                raise _LongBodyError from None
            # TF-Serving takes such a body for an empty one; the code and the beginning are its.
            raise invalid_argument(
                "JSON Parse error: The document is empty: inflated, the gzip body is larger than "
                f"{self._max_body} bytes (--rest_max_body_bytes)"
            ) from None

    def _fill(self, request: Any, spec: ModelSpec, body: bytes | bytearray, call: Call) -> None:
        _fill_spec(request.model_spec, spec)
        with self._turn(len(body), call):
            document = json_request.parse_object(body, self._max_values)
            name = json_request.signature_name(document)
            json_request.fill_examples(document, request)
        try:
            request.model_spec.signature_name = name
        except UnicodeEncodeError:  # bytes that are no UTF-8; no model can have such a signature
            with self._service.lease(spec):
                raise invalid_argument(f"No signature was found with the name: {name}") from None

    def _predict(self, spec: ModelSpec, body: bytes | bytearray, call: Call) -> str:
        with contextlib.ExitStack() as stack:
            turn = stack.enter_context(contextlib.ExitStack())
            turn.enter_context(self._turn(len(body), call))
            document = json_request.parse_object(body, self._max_values)
            asked = json_request.signature_name(document)
            servable = stack.enter_context(self._service.lease(spec))
            name = asked or DEFAULT_SIGNATURE
            signature = servable.signatures.get(name)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            if not signature.inputs:
                raise invalid_argument(f"Failed to get input map for signature: {asked or 'DEFAULT'}")
            types = {alias: info.dtype for alias, info in sorted(signature.inputs.items())}
            inputs, row_form = json_request.predict_inputs(document, types)
            del document  # many times its arrays
            turn.close()
            outputs = self._service.predict(servable, name, inputs, np.asarray, (), call)
        # An element takes some ten bytes of JSON.
        with self._turn(10 * sum(array.size for array in outputs.values()), call):
            return json_writer.predictions(outputs, row_form)

    @contextlib.contextmanager
    def _turn(self, size: int, call: Call) -> Iterator[None]:
        """Long bodies are read and written one at a time: their objects take many times their bytes."""
        if size <= LONG_BODY:
            yield
            return
        remaining = call.remaining()
        if not self._long_bodies.acquire(timeout=-1 if remaining is None else remaining):
            raise call.error()
        try:
            call.check()
            yield
        finally:
            self._long_bodies.release()

    def _about(self, target: ModelPath) -> str:
        if not target.spec.name:
            raise invalid_argument("Missing model name in request.")
        # `/METADATA` matches, but only the lower-case word is metadata.
        if target.action == "metadata":
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
