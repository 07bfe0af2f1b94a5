"""Sections 4.1, 4.2 and 4.7: paths and methods, status codes, status and metadata bodies."""

from __future__ import annotations

from conformance.case import Needs, Section
from conformance.expectations import close, contains, equal
from conformance.rest import M
from conformance.server import Server

urls = Section("4.2 URLs and methods", Needs.SERVER)
bodies = Section("4.7 Status and metadata bodies", Needs.SERVER)

BODY = '{"instances": [0.0]}'


def refused(server: Server, method: str, path: str, text: str) -> None:
    reply = server.http(method, path, BODY if method == "POST" else None)
    equal(reply.status, 400, f"HTTP status of {method} {path}")
    equal(reply.headers.get("content-type"), "application/json", "Content-Type")
    equal(reply.error, text, "error")


# Everything under /v1/ that no pattern matches; the error repeats method and path.
MALFORMED = [
    ("GET", "/v1/"),
    ("GET", "/v1/foo"),
    ("GET", "/v1/model/counter"),
    ("POST", M),
    ("GET", f"{M}/"),
    ("GET", f"{M}/counter/"),
    ("GET", f"{M}/counter/version/1"),
    ("GET", f"{M}/counter/label/stable"),
    ("GET", f"{M}/counter/versions"),
    ("GET", f"{M}/counter/versions/latest"),
    ("GET", f"{M}/counter/versions/-1"),
    ("GET", f"{M}/counter/versions/1/labels/stable"),
    ("GET", f"{M}/counter/metadata/"),
    ("GET", f"{M}/counter/versions/1/other"),
    ("GET", f"{M}/counter:predict"),
    ("POST", f"{M}/counter"),
    ("POST", f"{M}/counter/metadata"),
    ("POST", f"{M}/counter:other"),
    ("POST", f"{M}/counter:PREDICT"),
    ("POST", f"{M}/counter:predict/"),
    ("POST", f"{M}/counter:predict?x=1"),
    ("POST", f"{M}/counter/versions/one:predict"),
    ("POST", f"{M}/counter/versions/1/labels/stable:predict"),
    ("POST", f"{M}:predict"),
    ("PUT", f"{M}/counter:predict"),
    ("DELETE", f"{M}/counter"),
    ("PATCH", f"{M}/counter"),
]
urls.each(
    {f"{method} {path}": (method, path, f"Malformed request: {method} {path}") for method, path in MALFORMED},
    refused,
    "malformed: {}",
)
urls.each(
    {
        path: ("GET", path, "Missing model name in request.")
        for path in (M, f"{M}/versions/1", f"{M}/labels/stable")
    },
    refused,
    "no model name: GET {}",
)

# POST path → the version of `counter` that answers.
REACHED = {
    f"{M}/counter:predict": 3.0,
    f"{M}/counter/versions/0:predict": 0.0,
    f"{M}/counter/versions/0002:predict": 2.0,
    f"{M}/counter/labels/stable:predict": 1.0,
    f"{M}/counter/labels/canary:predict": 2.0,
    f"{M}/counter/labels/same%2Fas%3Astable:predict": 1.0,
    f"{M}/c%6Funter:predict": 3.0,
    "/v1/MODELS/counter/VERSIONS/1:predict": 1.0,
}


def reaches(server: Server, path: str, answer: float) -> None:
    reply = server.post(path, BODY)
    equal(reply.status, 200, f"HTTP status ({reply.text[:200]!r})")
    equal(reply.json, {"predictions": [answer]}, "body")


urls.each({path: (path, answer) for path, answer in REACHED.items()}, reaches, "POST {}")

# path → HTTP status and text, for requests that are well formed but reach nothing.
UNREACHED = {
    f"{M}/nobody:predict": (404, "Servable not found for request: Latest(nobody)"),
    f"{M}/counter/versions/77:predict": (404, "Servable not found for request: Specific(counter, 77)"),
    f"{M}/counter/labels/nobody:predict": (400, "Unrecognized servable version label: nobody"),
    f"{M}/nobody/labels/stable:predict": (400, "Unrecognized servable version label: stable"),
    f"{M}/counter/labels/missing:predict": (404, "Servable not found for request: Specific(counter, 9)"),
    f"{M}/a+b:predict": (404, "Servable not found for request: Latest(a+b)"),
    f"{M}/a%3Ab%2Fc:predict": (404, "Servable not found for request: Latest(a:b/c)"),
}


def reaches_nothing(server: Server, path: str, status: int, text: str) -> None:
    reply = server.post(path, BODY)
    equal(reply.status, status, "HTTP status")
    equal(reply.error, text, "error")


urls.each({path: (path, *row) for path, row in UNREACHED.items()}, reaches_nothing, "POST {}")


@urls.case("a query string is part of the model name in GET")
def _(server: Server) -> None:
    reply = server.get(f"{M}/counter?x=1")
    equal(reply.status, 404, "HTTP status")
    equal(reply.error, "Could not find any versions of model counter?x=1", "error")


@urls.case("a version beyond int64: 400 and an empty body")
def _(server: Server) -> None:
    for method, path in (
        ("GET", f"{M}/counter/versions/{2**64 - 1}"),
        ("POST", f"{M}/counter/versions/{2**64 - 1}:predict"),
        ("GET", f"{M}/counter/versions/{'9' * 5000}"),
    ):
        reply = server.http(method, path, BODY if method == "POST" else None)
        equal((reply.status, reply.body), (400, b""), f"{method} status and body")


@urls.case("HEAD is malformed, too")
def _(server: Server) -> None:
    equal(server.http("HEAD", f"{M}/counter").status, 400, "HTTP status")


@urls.case("/METADATA in capitals is answered as status")
def _(server: Server) -> None:
    reply = server.get(f"{M}/counter/METADATA")
    equal(reply.status, 200, "HTTP status")
    equal(list(reply.json), ["model_version_status"], "keys")


for _path in ("/", "/index", "/statuspage", "/v2/models/counter", "/v1"):

    @urls.case(f"outside /v1/: 404 as a small HTML page for {_path}")
    def _(server: Server, path: str = _path) -> None:
        reply = server.get(path)
        equal(reply.status, 404, "HTTP status")
        contains(reply.headers.get("content-type", ""), "text/html", what="Content-Type")
        contains(reply.text.upper(), "<HTML>", what="body")
        equal(reply.headers.get("connection", "").lower(), "close", "Connection")


@urls.case("OPTIONS under /v1/: 200 with an http(s) Origin, else 400, always empty")
def _(server: Server) -> None:
    for origin, status in (
        ("https://a.example", 200),
        ("http://a.example", 200),
        ("ftp://a.example", 400),
        (None, 400),
    ):
        headers = {} if origin is None else {"Origin": origin}
        reply = server.http("OPTIONS", f"{M}/counter:predict", headers=headers)
        equal((reply.status, reply.body), (status, b""), f"status and body for Origin {origin}")


@urls.case("TRACE: 501")
def _(server: Server) -> None:
    equal(server.http("TRACE", f"{M}/counter").status, 501, "HTTP status")


@urls.case("the body's Content-Type is not looked at")
def _(server: Server) -> None:
    reply = server.http("POST", f"{M}/counter:predict", BODY, {"Content-Type": "application/x-nothing"})
    equal(reply.status, 200, "HTTP status")


# ---- status and metadata -------------------------------------------------------------------------

STATUS_TEXT = """\
{
 "model_version_status": [
  {
   "version": "123",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }
 ]
}"""


@bodies.case("status: versions as strings, one blank of indentation")
def _(server: Server) -> None:
    reply = server.get(f"{M}/half_plus_two")
    equal(reply.status, 200, "HTTP status")
    equal(reply.text.rstrip("\n"), STATUS_TEXT, "body")


def versions(server: Server, path: str) -> list[str]:
    reply = server.get(path)
    equal(reply.status, 200, f"HTTP status of {path}")
    return [entry["version"] for entry in reply.json["model_version_status"]]


@bodies.case("status: all versions newest first; one by number; labels are ignored")
def _(server: Server) -> None:
    equal(versions(server, f"{M}/counter"), ["3", "2", "1", "0"], "versions")
    equal(versions(server, f"{M}/counter/versions/0"), ["0"], "versions")
    for label in ("stable", "nobody"):
        equal(
            versions(server, f"{M}/counter/labels/{label}"),
            ["3", "2", "1", "0"],
            f"versions for label {label}",
        )


for _path, _text in {
    f"{M}/nobody": "Could not find any versions of model nobody",
    f"{M}/counter/versions/77": "Could not find version 77 of model counter",
}.items():

    @bodies.case(f"status: 404 for GET {_path}")
    def _(server: Server, path: str = _path, text: str = _text) -> None:
        reply = server.get(path)
        equal((reply.status, reply.error), (404, text), "status and error")


def tensor(dtype: str, name: str, *sizes: int) -> dict[str, object]:
    dims = [{"size": str(size), "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}


@bodies.case("metadata: the whole body for a TF1 export")
def _(server: Server) -> None:
    reply = server.get(f"{M}/half_plus_two/metadata")
    equal(reply.status, 200, "HTTP status")
    value = reply.json
    equal(
        value["model_spec"], {"name": "half_plus_two", "signature_name": "", "version": "123"}, "model_spec"
    )
    equal(list(value["metadata"]), ["signature_def"], "metadata keys")
    signatures = value["metadata"]["signature_def"]["signature_def"]
    equal(
        signatures["serving_default"],
        {
            "inputs": {"x": tensor("DT_FLOAT", "x:0", -1, 1)},
            "outputs": {"y": tensor("DT_FLOAT", "y:0", -1, 1)},
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        },
        "serving_default",
    )
    equal(
        set(signatures),
        {
            "serving_default",
            "classify_x_to_y",
            "regress_x_to_y",
            "regress_x_to_y2",
            "classify_x2_to_y3",
            "regress_x2_to_y3",
        },
        "signatures",
    )


@bodies.case("metadata: unknown ranks and the init op of a TF2 export")
def _(server: Server) -> None:
    signatures = server.get(f"{M}/scale/metadata").json["metadata"]["signature_def"]["signature_def"]
    equal(set(signatures), {"serving_default", "custom_signature_key", "__saved_model_init_op"}, "signatures")
    shape = signatures["serving_default"]["inputs"]["a"]["tensor_shape"]
    equal(shape, {"dim": [], "unknown_rank": True}, "shape of a")


@bodies.case("metadata: versions and labels are honoured")
def _(server: Server) -> None:
    for path, version in (
        (f"{M}/counter/versions/0/metadata", "0"),
        (f"{M}/counter/labels/canary/metadata", "2"),
    ):
        reply = server.get(path)
        equal(reply.status, 200, "HTTP status")
        equal(reply.json["model_spec"]["version"], version, f"version of {path}")


@bodies.case("metadata: errors as for Predict")
def _(server: Server) -> None:
    for path, status, text in (
        (f"{M}/nobody/metadata", 404, "Servable not found for request: Latest(nobody)"),
        (f"{M}/counter/versions/77/metadata", 404, "Servable not found for request: Specific(counter, 77)"),
        (f"{M}/counter/labels/nobody/metadata", 400, "Unrecognized servable version label: nobody"),
    ):
        reply = server.get(path)
        equal((reply.status, reply.error), (status, text), path)


@bodies.case("errors: one key, no code in the text, quotes escaped, pretty-printed")
def _(server: Server) -> None:
    reply = server.post(f"{M}/half_plus_two:predict", {"signature_name": "nothing", "instances": [1.0]})
    equal(reply.status, 400, "HTTP status")
    equal(
        reply.text.rstrip("\n"),
        '{\n    "error": "Serving signature name: \\"nothing\\" not found in signature def"\n}',
        "body",
    )


@bodies.case("error texts are not cut at 1024 characters")
def _(server: Server) -> None:
    reply = server.post(f"{M}/half_plus_two:predict", {"signature_name": "s" * 3000, "instances": [1.0]})
    equal(reply.error, f'Serving signature name: "{"s" * 3000}" not found in signature def', "error")


@bodies.case("a scalar and a matrix answer through REST")
def _(server: Server) -> None:
    reply = server.post(f"{M}/scale:predict", {"inputs": 4.0})
    equal(reply.json, {"outputs": 12.0}, "scalar")
    close(server.post(f"{M}/keras:predict", {"instances": [[1.0]]}).json["predictions"], [[2.0]], "Keras")


SECTIONS = (urls, bodies)
