"""Sections 4.5, 4.8 and 4.9: how answers are written, headers, compression and metrics."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import time

from conformance.case import Needs, Section
from conformance.expectations import contains, equal
from conformance.rest import M
from conformance.server import TIMEOUT, Server

format_ = Section("4.5 Predict responses", Needs.SERVER)
headers = Section("4.8 Headers and compression", Needs.SERVER)
metrics = Section("4.9 Prometheus metrics", Needs.SERVER)


def text(server: Server, path: str, body: object) -> str:
    reply = server.post(f"{M}/{path}", body)
    equal(reply.status, 200, f"HTTP status (body {reply.text[:300]!r})")
    return reply.text


# ---- layout --------------------------------------------------------------------------------------

# title → path, body, the answer to the letter.
EXACT: dict[str, tuple[str, object, str]] = {
    "row form, one output of rank 2": (
        "dtypes:predict",
        {"instances": [[1, 2], [3, 4]]},
        '{\n    "predictions": [[1.0, 2.0], [3.0, 4.0]\n    ]\n}',
    ),
    "row form, one output of rank 1": (
        "half_plus_two:predict",
        {"instances": [2, 3, 4]},
        '{\n    "predictions": [3.0, 3.5, 4.0\n    ]\n}',
    ),
    "columnar form: every element on its own line": (
        "half_plus_two:predict",
        {"inputs": [2, 3]},
        '{\n    "outputs": [\n        3.0,\n        3.5\n    ]\n}',
    ),
    "columnar form, rank 2": (
        "dtypes:predict",
        {"inputs": [[1], [2]]},
        '{\n    "outputs": [\n        [\n            1.0\n        ],\n'
        "        [\n            2.0\n        ]\n    ]\n}",
    ),
    "columnar form, a scalar": ("dtypes:predict", {"inputs": 1}, '{\n    "outputs": 1.0\n}'),
    "classify": (
        "half_plus_two:classify",
        {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}, {"x": 4.0}]},
        '{\n    "results": [[["", 3.0]], [["", 4.0]]\n    ]\n}',
    ),
    "regress: the bracket stays on the line": (
        "half_plus_two:regress",
        {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}, {"x": 4.0}]},
        '{\n    "results": [3.0, 4.0]\n}',
    ),
}
format_.each(
    EXACT,
    lambda server, path, body, expected: equal(text(server, path, body), expected, "body"),
    "layout: {}",
)


@format_.case("layout: row form, several outputs: an object a row, members on their own lines")
def _(server: Server) -> None:
    found = text(server, "pair:predict", {"instances": [{"a": [5, 5], "b": [3, 3]}]})
    equal(json.loads(found), {"predictions": [{"sum": [8.0, 8.0], "difference": [2.0, 2.0]}]}, "body")
    lines = [line.strip().rstrip(",") for line in found.splitlines()]
    for member in ('"sum": [8.0, 8.0]', '"difference": [2.0, 2.0]'):
        assert member in lines, f"expected {member} on a line of its own, got {found!r}"


# value as JSON → how float32 and float64 write it.
FLOATS = {
    "9000000": ("9e+06", "9e+06"),
    "999999": ("999999.0", "999999.0"),
    "0.5": ("0.5", "0.5"),
    "0.0003": ("0.0003", "0.0003"),
    "0.00003": ("3e-05", "3e-05"),
    "555557.5": ("555557.5", "555557.5"),
    "12345678": ("12345678.0", "12345678.0"),
    "0.3333333333333333": ("0.333333343", "0.33333333333333331"),
    "0.1": ("0.1", "0.1"),
    "-0.0": ("-0.0", "-0.0"),
    "0": ("0.0", "0.0"),
    "1e20": ("1e+20", "1e+20"),
    "16777216": ("16777216.0", "16777216.0"),
    "1e-10": ("1e-10", "1e-10"),
    "3.14159274": ("3.14159274", "3.1415927400000001"),
}
for _column, _signature in enumerate(("float32", "float64")):
    for _value, _written in FLOATS.items():
        format_.add(
            f"{_signature}: {_value} is written {_written[_column]}",
            lambda server, signature=_signature, value=_value, written=_written[_column]: equal(
                text(server, "dtypes:predict", f'{{"signature_name": "{signature}", "inputs": {value}}}'),
                f'{{\n    "outputs": {written}\n}}',
                "body",
            ),
        )


@format_.case("non-finite floats are bare NaN, Infinity and -Infinity")
def _(server: Server) -> None:
    found = text(server, "dtypes:predict", '{"instances": [NaN, Infinity, -Infinity]}')
    equal(found, '{\n    "predictions": [NaN, Infinity, -Infinity\n    ]\n}', "body")


@format_.case("integers and truth values")
def _(server: Server) -> None:
    for signature, value, written in (
        ("int64", "-9223372036854775808", "-9223372036854775808"),
        ("uint64", "18446744073709551615", "18446744073709551615"),
        ("uint8", "255", "255"),
        ("bool", "true", "true"),
    ):
        found = text(server, "dtypes:predict", f'{{"signature_name": "{signature}", "inputs": {value}}}')
        equal(found, f'{{\n    "outputs": {written}\n}}', signature)


@format_.case("strings: slashes and UTF-8 as they are, quotes and control characters escaped")
def _(server: Server) -> None:
    value = 'a/b "ä" \\ \n\t\u0001 😀'
    reply = server.post(f"{M}/strings:predict", json.dumps({"signature_name": "plain", "inputs": value}))
    equal(reply.status, 200, "HTTP status")
    expected = '{\n    "outputs": "a/b \\"ä\\" \\\\ \\n\\t\\u0001 😀"\n}'
    equal(reply.body, expected.encode(), "body")


@format_.case("strings that are no UTF-8 pass verbatim where the name does not end in _bytes")
def _(server: Server) -> None:
    reply = server.post(f"{M}/strings:predict", {"signature_name": "plain", "inputs": {"b64": "/wA="}})
    equal(reply.status, 200, "HTTP status")
    contains(repr(reply.body), r"\xff\\u0000")


@format_.case("outputs named *_bytes are base64 objects, in every form")
def _(server: Server) -> None:
    bytes_ = {"b64": "/wA="}
    for body, expected in (
        ({"signature_name": "bytes", "instances": [bytes_]}, {"predictions": [bytes_]}),
        ({"signature_name": "bytes", "inputs": bytes_}, {"outputs": bytes_}),
        (
            {"signature_name": "bytes_and_length", "instances": [bytes_]},
            {"predictions": [{"image_bytes": bytes_, "length": 2}]},
        ),
        (
            {"signature_name": "bytes_and_length", "inputs": [bytes_]},
            {"outputs": {"image_bytes": [bytes_], "length": [2]}},
        ),
    ):
        equal(json.loads(text(server, "strings:predict", body)), expected, "body")


@format_.case("no rows: an empty list")
def _(server: Server) -> None:
    found = text(server, "shapes:predict", {"signature_name": "zero_rows", "instances": [1.0]})
    equal(json.loads(found), {"predictions": []}, "body")


# signature of `shapes` → what row form says about its outputs.
UNFIT = {
    "scalar": ("Tensor name: y has no shape information ",),
    "scalar_and_rows": ("Tensor name: ",),
    "uneven": ("Tensor name: ", "has inconsistent batch size: "),
    "zero_and_some_rows": ("Tensor name: ", "has inconsistent batch size: "),
}
for _signature, _parts in UNFIT.items():

    @format_.case(f"row form refuses outputs of signature {_signature}, columnar form takes them")
    def _(server: Server, signature: str = _signature, parts: tuple[str, ...] = _parts) -> None:
        body = {"signature_name": signature, "instances": [1.0, 2.0]}
        reply = server.post(f"{M}/shapes:predict", body)
        equal(reply.status, 400, f"HTTP status (body {reply.text[:200]!r})")
        contains(reply.error, *parts)
        equal(
            server.post(f"{M}/shapes:predict", {"signature_name": signature, "inputs": [1.0, 2.0]}).status,
            200,
        )


@format_.case("columnar form writes a scalar output bare")
def _(server: Server) -> None:
    found = text(server, "shapes:predict", {"signature_name": "scalar", "inputs": [1.0, 2.0]})
    equal(found, '{\n    "outputs": 3.0\n}', "body")


# ---- headers -------------------------------------------------------------------------------------


@headers.case("answers and errors are application/json, with Date and Content-Length")
def _(server: Server) -> None:
    for reply in (
        server.post(f"{M}/half_plus_two:predict", {"instances": [1.0]}),
        server.post(f"{M}/half_plus_two:predict", "{"),
        server.get(f"{M}/half_plus_two"),
        server.get(f"{M}/half_plus_two/metadata"),
        server.get("/v1/foo"),
    ):
        equal(reply.headers.get("content-type"), "application/json", "Content-Type")
        equal(reply.headers.get("content-length"), str(len(reply.body)), "Content-Length")
        assert "date" in reply.headers, f"expected a Date header, got {dict(reply.headers)}"
        assert not any(name.startswith("access-control") for name in reply.headers), "CORS is off"


def stays_open(server: Server, body: str, status: int, idle: float) -> None:
    """A second request goes through the connection of the first."""
    host, port = server.rest_address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
    try:
        connection.request("POST", f"{M}/half_plus_two:predict", body)
        reply = connection.getresponse()
        reply.read()
        equal(reply.status, status, "first HTTP status")
        socket = connection.sock
        time.sleep(idle)
        connection.request("POST", f"{M}/half_plus_two:predict", '{"instances": [2.0]}')
        equal(connection.getresponse().status, 200, "second HTTP status")
        assert connection.sock is socket, "the second request went through a new connection"
    finally:
        connection.close()


headers.each(
    {
        "connections are kept open between requests": ('{"instances": [2.0]}', 200, 0.0),
        "an error leaves the connection open, too": ("{", 400, 0.0),
        "a connection that was idle for six seconds is still open": ('{"instances": [2.0]}', 200, 6.0),
    },
    stays_open,
)


@headers.case("gzip request bodies are inflated")
def _(server: Server) -> None:
    body = gzip.compress(b'{"instances": [2.0]}')
    for encoding in ("gzip", "deflate, gzip"):
        reply = server.http("POST", f"{M}/half_plus_two:predict", body, {"Content-Encoding": encoding})
        equal(reply.status, 200, f"HTTP status (body {reply.text[:200]!r})")
        equal(reply.json, {"predictions": [3.0]}, "body")


@headers.case("a body that is no gzip counts as empty")
def _(server: Server) -> None:
    reply = server.http(
        "POST", f"{M}/half_plus_two:predict", b'{"instances": [2.0]}', {"Content-Encoding": "gzip"}
    )
    equal(reply.status, 400, "HTTP status")
    contains(reply.error, "The document is empty")


@headers.case("gzip that inflates beyond 100 MiB counts as empty")
def _(server: Server) -> None:
    body = gzip.compress(b'{"instances": [2.0]}' + b" " * (101 * 2**20), compresslevel=1)
    reply = server.http("POST", f"{M}/half_plus_two:predict", body, {"Content-Encoding": "gzip"})
    equal(reply.status, 400, "HTTP status")
    contains(reply.error, "The document is empty")


@headers.case("responses are never compressed")
def _(server: Server) -> None:
    reply = server.http("GET", f"{M}/half_plus_two", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in reply.headers, (
        f"got Content-Encoding {reply.headers.get('content-encoding')}"
    )
    equal(reply.json["model_version_status"][0]["version"], "123", "version")


@headers.case("a request target that is none: an error, and the server goes on")
def _(server: Server) -> None:
    import socket

    host, port = server.rest_address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as raw:
        raw.sendall(b"this is not HTTP\r\n\r\n")
        answer = raw.recv(4096)
    assert not answer or re.match(rb"HTTP/1\.[01] [45]", answer), f"got {answer[:80]!r}"
    equal(server.get(f"{M}/half_plus_two").status, 200, "HTTP status of the next request")


# ---- metrics -------------------------------------------------------------------------------------

PAGE = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:serving:"


def sample(server: Server, name: str, **labels: str) -> float:
    """The value of a series, 0 if it has none yet; the order of labels does not matter."""
    for line in server.get(PAGE).text.splitlines():
        match = re.fullmatch(r"([^{#]+)\{(.*)\} (\S+)", line)
        if match and match[1] == name and dict(re.findall(r'(\w+)="([^"]*)"', match[2])) == labels:
            return float(match[3])
    return 0.0


@metrics.case("the page: text/plain, ends with a newline, any method, no CORS")
def _(server: Server) -> None:
    for method in ("GET", "POST"):
        reply = server.http(method, PAGE)
        equal(reply.status, 200, f"HTTP status of {method}")
        contains(reply.headers.get("content-type", ""), "text/plain", what="Content-Type")
        assert reply.text.endswith("\n"), "the page must end with a newline"
        assert "# HELP" not in reply.text, "there are no HELP lines"


@metrics.case("a query string: 400 as text")
def _(server: Server) -> None:
    reply = server.get(f"{PAGE}?q=1")
    equal(reply.status, 400, "HTTP status")
    contains(reply.text, f"Unexpected path: {PAGE}?q=1. Should be {PAGE}")


@metrics.case("a request for a model whose name is no text leaves the page as it is")
def _(server: Server) -> None:
    equal(server.get(f"{M}/%FF").status, 404, "HTTP status of an unknown model")
    reply = server.get(PAGE)
    equal(reply.status, 200, "HTTP status")
    contains(reply.text, f"# TYPE {PREFIX}request_count counter\n")


TYPES = {
    "request_count": "counter",
    "request_latency": "histogram",
    "runtime_latency": "histogram",
    "request_example_counts": "histogram",
    "request_example_count_total": "counter",
    "model_warmup_latency": "histogram",
    "request_log_count": "counter",
}
metrics.each(
    {f"{name} is declared a {kind}": (f"# TYPE {PREFIX}{name} {kind}\n",) for name, kind in TYPES.items()},
    lambda server, line: contains(server.get(PAGE).text, line),
)


@metrics.case("request_count counts gRPC Predict, REST, and errors by code")
def _(server: Server) -> None:
    name = f"{PREFIX}request_count"

    def counts() -> list[float]:
        return [sample(server, name, model_name="pair", status=code) for code in ("OK", "INVALID_ARGUMENT")]

    before = counts()
    server.predict("pair", {"a": [1.0], "b": [1.0]})
    server.post(f"{M}/pair:predict", {"inputs": {"a": [1.0], "b": [1.0]}})
    server.post(f"{M}/pair:predict", "{")
    after = counts()
    equal(
        [b - a for a, b in zip(before, after, strict=True)], [2.0, 1.0], "increase of OK and INVALID_ARGUMENT"
    )


@metrics.case("request_latency: successes by API and entry point, cumulative buckets 10·1.8ⁱ")
def _(server: Server) -> None:
    name = f"{PREFIX}request_latency_count"
    grpc = {"model_name": "mixed", "API": "Predict", "entrypoint": "GRPC"}
    rest = {"model_name": "mixed", "API": "predict", "entrypoint": "REST"}
    before = sample(server, name, **grpc), sample(server, name, **rest)
    columns = {"ints": [1], "texts": ["a"], "floats": [1.0], "doubles": [1.0]}
    server.post(f"{M}/mixed:predict", {"inputs": columns})
    server.post(f"{M}/mixed:predict", {"inputs": {}})
    after = sample(server, name, **grpc), sample(server, name, **rest)
    equal((after[0] - before[0], after[1] - before[1]), (0.0, 1.0), "increase by gRPC and REST")
    parts = (f"{PREFIX}request_latency_bucket{{", 'model_name="mixed"', 'API="predict"', 'entrypoint="REST"')
    lines = [line for line in server.get(PAGE).text.splitlines() if all(part in line for part in parts)]
    limits = [re.search(r'le="([^"]+)"', line)[1] for line in lines]  # type: ignore[index]
    equal(limits[-1], "+Inf", "last limit")
    numbers = [float(limit) for limit in limits[:-1]]
    equal(len(numbers), 33, "number of limits")
    for index, number in enumerate(numbers):
        assert abs(number / (10 * 1.8**index) - 1) < 1e-4, (
            f"limit {index}: expected {10 * 1.8**index}, got {number}"
        )
    counts = [float(line.rsplit(" ", 1)[1]) for line in lines]
    equal(counts, sorted(counts), "cumulative counts")
    equal(counts[-1], after[1], "count of +Inf")


@metrics.case("runtime_latency: by model, API and runtime")
def _(server: Server) -> None:
    labels = {"model_name": "keras", "API": "Predict", "runtime": "TF1"}
    before = sample(server, f"{PREFIX}runtime_latency_count", **labels)
    server.post(f"{M}/keras:predict", {"instances": [[1.0]]})
    equal(sample(server, f"{PREFIX}runtime_latency_count", **labels) - before, 1.0, "increase")


SECTIONS = (format_, headers, metrics)
