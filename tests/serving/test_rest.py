"""REST against a live server: paths, bodies, headers, errors."""

from __future__ import annotations

import gzip
import json
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MALFORMED = "Malformed request: {} {}"


@pytest.mark.parametrize("path", ["half_plus_two", "half_plus_two/versions/123"])
def test_predict_row_and_column(served, path: str) -> None:
    row = served.post(f"{path}:predict", {"instances": [2.0, 3.0, 4.0]})
    assert (row.status_code, row.text) == (200, '{\n    "predictions": [3.0, 3.5, 4.0\n    ]\n}')
    assert row.headers["content-type"] == "application/json"
    column = served.post(f"{path}:predict", {"inputs": [2.0, 3.0, 4.0]})
    assert column.json() == {"outputs": [3.0, 3.5, 4.0]}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"instances": [[1, 2], [3, 4]]}, {"predictions": [[2.5, 3.0], [3.5, 4.0]]}),
        ({"instances": [{"x": 2}, {"x": 4}]}, {"predictions": [3.0, 4.0]}),
        ({"inputs": 2}, {"outputs": 3.0}),
        ({"inputs": {"x": [2]}, "unknown": [[[]]]}, {"outputs": [3.0]}),
        ({"instances": [2], "signature_name": "both"}, {"predictions": [{"y": 3.0, "y2": 4.0}]}),
        ({"inputs": [], "signature_name": "both"}, {"outputs": {"y": [], "y2": []}}),
    ],
)
def test_shapes_are_not_checked_against_the_signature(served, body: dict, answer: dict) -> None:
    assert served.post("half_plus_two:predict", body).json() == answer


def test_versions_and_labels(served) -> None:
    for path, first in [
        ("versions", 4.0),
        ("versions/versions/1", 3.0),
        ("versions/labels/old", 3.0),
        ("versions/labels/new", 4.0),
        ("%76ersions/labels/%6Eew", 4.0),
    ]:
        assert served.post(f"{path}:predict", {"instances": [2.0]}).json() == {"predictions": [first]}


def test_classify_and_regress(served) -> None:
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
    reply = served.post("half_plus_two:classify", body)
    assert reply.text == '{\n    "results": [[["", 3.0]]\n    ]\n}'
    body = {"signature_name": "regress_x_to_y", "context": {"x": 2.0}, "examples": [{}, {"x": [4.0]}]}
    assert served.post("half_plus_two:regress", body).text == '{\n    "results": [3.0, 4.0]\n}'


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("nobody:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nobody)"),
        (
            "half_plus_two/versions/9:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Specific(half_plus_two, 9)",
        ),
        (
            "half_plus_two/labels/none:predict",
            {"instances": [1]},
            400,
            "Unrecognized servable version label: none",
        ),
        ("half_plus_two:predict", b"", 400, "JSON Parse error: The document is empty"),
        (
            "half_plus_two:predict",
            b"{",
            400,
            "JSON Parse error: Missing a name for object member. at offset: 1",
        ),
        (
            "half_plus_two:predict",
            {"instances": [1], "signature_name": "x"},
            400,
            'Serving signature name: "x" not found in signature def',
        ),
        ("shapes:predict", {"instances": [-1.0], "signature_name": "refuse_negative"}, 400, None),
        (
            "shapes:predict",
            {"instances": [1.0], "signature_name": "scalar"},
            400,
            "Tensor name: mean has no shape information ",
        ),
        ("half_plus_two:classify", {"examples": [{}]}, 400, "No classification inputs found in SignatureDef"),
        (
            "nobody:classify",
            b"{}",
            400,
            "When method is classify, key 'examples' is expected and was not found",
        ),
        ("nobody:regress", {"examples": [{}]}, 404, "Servable not found for request: Latest(nobody)"),
        (
            "half_plus_two:regress",
            {"signature_name": "regress_x_to_y", "examples": [{}]},
            400,
            "Name: <unknown>, Feature: x (data type: float) is required but could not be found",
        ),
    ],
)
def test_errors(served, path: str, body: object, status: int, message: str | None) -> None:
    reply = served.post(path, body)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/json"
    if message:
        assert message in reply.json()["error"]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m/version/1:predict"),
        ("POST", "/v1/models/m/versions/x:predict"),
        ("POST", "/v1/models/m/versions/1/labels/a:predict"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/foo"),
        ("PUT", "/v1/models/m:predict"),
        ("DELETE", "/v1/models/m"),
        ("PATCH", "/v1/models/m"),
    ],
)
def test_malformed_requests(served, method: str, target: str) -> None:
    reply = served.http.request(method, target)
    assert (reply.status_code, reply.json()["error"]) == (400, MALFORMED.format(method, target))


def test_the_path_grammar_has_its_quirks(served) -> None:
    get = served.http.get
    assert get("/v1/models").json()["error"] == "Missing model name in request."
    assert get("/V1/MODELS/half_plus_two").status_code == 200
    assert "model_version_status" in get("/v1/models/half_plus_two/METADATA").json()
    assert "model foo?x=1" in get("/v1/models/foo?x=1").json()["error"]
    for digits in (str(2**63), "9" * 5000):
        too_big = get(f"/v1/models/m/versions/{digits}")
        assert (too_big.status_code, too_big.content) == (400, b"")
    assert "version 9223372036854775807 of" in get(f"/v1/models/m/versions/000{2**63 - 1}").json()["error"]
    assert served.http.head("/v1/models/half_plus_two").status_code == 400
    outside = get("/index.html")
    assert (outside.status_code, outside.headers["content-type"]) == (404, "text/html")
    assert served.http.request("TRACE", "/v1/models").status_code == 501


def test_status(served) -> None:
    entry = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("half_plus_two", "half_plus_two/versions/123", "half_plus_two/labels/anything"):
        assert served.http.get(f"/v1/models/{path}").json() == {"model_version_status": [entry]}
    listed = served.http.get("/v1/models/versions").json()["model_version_status"]
    assert [entry["version"] for entry in listed] == ["2", "1"]
    missing = served.http.get("/v1/models/nobody")
    assert (missing.status_code, missing.json()["error"]) == (
        404,
        "Could not find any versions of model nobody",
    )
    missing = served.http.get("/v1/models/half_plus_two/versions/1")
    assert missing.json()["error"] == "Could not find version 1 of model half_plus_two"


def test_metadata(served) -> None:
    answer = served.http.get("/v1/models/half_plus_two/metadata").json()
    assert answer["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    size = {"size": "-1", "name": ""}, {"size": "1", "name": ""}
    assert signature == {
        "inputs": {
            "x": {"dtype": "DT_FLOAT", "name": "x:0", "tensor_shape": {"dim": [*size], "unknown_rank": False}}
        },
        "outputs": {
            "y": {"dtype": "DT_FLOAT", "name": "y:0", "tensor_shape": {"dim": [*size], "unknown_rank": False}}
        },
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    shapes = served.http.get("/v1/models/shapes/metadata").json()["metadata"]["signature_def"][
        "signature_def"
    ]
    assert "__saved_model_init_op" in shapes
    assert shapes["echo"]["inputs"]["text"]["tensor_shape"] == {"dim": [], "unknown_rank": True}


def test_options_needs_an_origin(served) -> None:
    allowed = served.http.options("/v1/models", headers={"Origin": "http://a"})
    assert (allowed.status_code, allowed.content) == (200, b"")
    assert "access-control-allow-origin" not in allowed.headers
    assert served.http.options("/v1/models").status_code == 400


def test_strings_and_bytes(served) -> None:
    body = b'{"instances": ["caf\xc3\xa9", {"b64": "/w=="}, "\xff"], "signature_name": "echo"}'
    rows = json.loads(served.post("shapes:predict", body).content.decode("utf-8", "surrogateescape"))[
        "predictions"
    ]
    assert [row["text"] for row in rows] == ["café", "\udcff", "\udcff"]
    assert [row["text_bytes"]["b64"] for row in rows] == ["Y2Fmw6k=", "/w==", "/w=="]


def test_every_type(served) -> None:
    columns = {
        "float32": [1.5],
        "float64": [0.1],
        "int32": [-5],
        "int64": [2**62],
        "bool": [True],
        "string": ["s"],
        "uint8": [200],
        "uint32": [2**32 - 1],
        "uint64": [2**64 - 1],
    }
    body = {"inputs": columns, "signature_name": "types"}
    assert served.post("shapes:predict", body).json() == {"outputs": columns}
    body = {"instances": [{alias: values[0] for alias, values in columns.items()}], "signature_name": "types"}
    assert served.post("shapes:predict", body).json()["predictions"][0] == {
        a: v[0] for a, v in columns.items()
    }


def test_types_json_cannot_write(served) -> None:
    body = {"inputs": [1], "signature_name": "complex_numbers"}
    reply = served.post("shapes:predict", body)
    assert (reply.status_code, reply.json()["error"]) == (
        501,
        "Conversion of JSON Value: 1 to type: complex64",
    )


def test_gzip_bodies(served) -> None:
    plain = json.dumps({"instances": [2.0]}).encode()
    headers = {"Content-Encoding": "gzip"}
    assert served.post("half_plus_two:predict", gzip.compress(plain), headers=headers).json() == {
        "predictions": [3.0]
    }
    broken = served.post("half_plus_two:predict", gzip.compress(plain)[:-5], headers=headers)
    assert broken.json()["error"] == "JSON Parse error: The document is empty"
    bomb = gzip.compress(b" " * (101 * 2**20), compresslevel=1)
    assert served.post("half_plus_two:predict", bomb, headers=headers).status_code == 400


def test_xla_and_many_rows(served) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    body = {"instances": rows.tolist(), "signature_name": "xla"}
    answer = np.float32(served.post("shapes:predict", body).json()["predictions"])
    expected = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    np.testing.assert_allclose(answer, expected, rtol=1e-5)


def test_metrics_page(served) -> None:
    served.post("half_plus_two:predict", {"instances": [1.0]})
    page = served.http.get("/monitoring/prometheus/metrics")
    assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert "# TYPE :tensorflow:serving:request_count counter\n" in page.text
    assert ':tensorflow:serving:request_count{model_name="half_plus_two",status="OK"} ' in page.text
    for name in ("no%FF", "no%FE", "a%0Ab%22"):  # not UTF-8; a line end and a quote
        assert served.http.get(f"/v1/models/{name}").status_code == 404
    page = served.http.get("/monitoring/prometheus/metrics")
    assert page.status_code == 200
    assert 'request_count{model_name="(unknown)",status="NOT_FOUND"} ' in page.text
    assert not any(name in page.content.decode() for name in ("no\ufffd", "a\\nb"))
    query = served.http.get("/monitoring/prometheus/metrics?x=1")
    assert (query.status_code, query.text) == (
        400,
        "Unexpected path: /monitoring/prometheus/metrics?x=1. Should be /monitoring/prometheus/metrics",
    )


def test_concurrent_requests_get_their_own_answers(served) -> None:
    wrong = []

    def ask(number: int) -> None:
        for step in range(20):
            value = float(number * 100 + step)
            answer = served.predict("half_plus_two", {"x": np.float32([value])})["y"].tolist()
            rest = served.post("half_plus_two:predict", {"instances": [value]}).json()
            if answer != [value / 2 + 2] or rest != {"predictions": [value / 2 + 2]}:
                wrong.append((value, answer, rest))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just({"b64": "aGk="}),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "a", "b64"]), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "instances": JSON,
        "inputs": JSON,
        "signature_name": st.sampled_from(["serving_default", "both", "echo", "types", "two", "xla", "nope"])
        | JSON,
        "examples": JSON,
        "context": JSON,
    },
)
PATHS = st.lists(
    st.sampled_from(
        ["models", "half_plus_two", "shapes", "versions", "1", "labels", "old", "metadata", "%2F", ""]
    )
    | st.text("abc:/%?&=.", max_size=4),
    max_size=5,
).map("/".join)


@given(
    st.sampled_from(["half_plus_two", "shapes"]),
    st.sampled_from(["predict", "classify", "regress"]),
    BODIES.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=40),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_breaks_the_server(served, model: str, verb: str, body: bytes) -> None:
    reply = served.post(f"{model}:{verb}", body)
    assert reply.status_code in (200, 400, 501)
    if reply.status_code != 200:
        assert reply.json()["error"]


@given(st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS"]), PATHS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_breaks_the_server(served, method: str, path: str) -> None:
    assert served.http.request(method, f"/v1/{path}").status_code in (200, 400, 404)
