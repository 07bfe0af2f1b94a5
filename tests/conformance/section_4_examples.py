"""Section 4.6: what classify and regress make of a body."""

from __future__ import annotations

import math
from typing import Any

from conformance.case import Needs, Section
from conformance.expectations import close, contains, equal
from conformance.rest import M, answers, refuses
from conformance.server import Server

examples = Section("4.6 Classify and regress bodies", Needs.SERVER)

CLASSIFY = "half_plus_two:classify"
REGRESS = "half_plus_two:regress"


def body(signature: str, *items: Any, **more: Any) -> dict[str, Any]:
    return {"signature_name": signature, "examples": list(items), **more}


EXAMPLE_ANSWERS: dict[str, tuple[str, Any, Any]] = {
    "classify: labels and scores": (
        CLASSIFY,
        body("classify_x_to_y", {"x": 2.0}),
        {"results": [[["", 3.0]]]},
    ),
    "classify: classes of a default signature": (
        "examples:classify",
        {"examples": [{"x": 2.0}]},
        {"results": [[["low", 2.0], ["high", 4.0]]]},
    ),
    "regress: one value an example": (
        REGRESS,
        body("regress_x_to_y", {"x": 80.0}, {"x": [20.0]}),
        {"results": [42.0, 12.0]},
    ),
    "classify: x=20 gives 12": (
        CLASSIFY,
        body("classify_x_to_y", {"x": [20.0]}),
        {"results": [[["", 12.0]]]},
    ),
    "by version": (
        "half_plus_two/versions/123:regress",
        body("regress_x_to_y", {"x": 2.0}),
        {"results": [3.0]},
    ),
    "context is shared by the examples": (
        "examples:regress",
        body("vector", {}, {"x": 5.0}, context={"x": 2.0}),
        {"results": [2.0, 5.0]},
    ),
    "strings, base64, integers and truth values": (
        "examples:classify",
        body(
            "features",
            {"name": "cat", "count": 3},
            {"name": {"b64": "ZG9n"}, "count": True},
            {"count": [False]},
        ),
        {"results": [[["cat", 0.0], ["3", 0.0]], [["dog", 0.0], ["1", 0.0]], [["none", 0.0], ["0", 0.0]]]},
    ),
    "an empty list is a feature of no kind": (
        "examples:regress",
        body("vector", {"x": []}),
        {"results": [-1.0]},
    ),
}
examples.each(EXAMPLE_ANSWERS, answers)

EXAMPLE_ERRORS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "no examples, classify": (
        CLASSIFY,
        {"instances": [1]},
        ("When method is classify, key 'examples' is expected and was not found",),
    ),
    "no examples, regress": (
        REGRESS,
        {},
        ("When method is classify, key 'examples' is expected and was not found",),
    ),
    "examples is no list": (CLASSIFY, {"examples": {}}, ("Expecting 'examples' value to be an list/array",)),
    "examples is empty": (CLASSIFY, {"examples": []}, ("'examples' value is an empty array",)),
    "signature_name is a number": (
        CLASSIFY,
        {"signature_name": 1, "examples": [{"x": 1.0}]},
        ("'signature_name' key must be a string value.",),
    ),
    "an example that is a list": (
        CLASSIFY,
        body("", [1]),
        ("Example must be JSON object but got JSON Array",),
    ),
    "an example that is a number": (
        CLASSIFY,
        body("", 1),
        ("Example must be JSON object but got JSON Number",),
    ),
    "context that is a string": (
        CLASSIFY,
        body("", {"x": 1.0}, context="a"),
        ("Example must be JSON object but got JSON String",),
    ),
    "null in a feature": (
        CLASSIFY,
        body("", {"x": None}),
        ("Feature: x has element with unexpected JSON type: Null",),
    ),
    "a list in a feature's list": (
        CLASSIFY,
        body("", {"x": [[1]]}),
        ("Feature: x has element with unexpected JSON type: Array",),
    ),
    "an object in a feature": (
        CLASSIFY,
        body("", {"x": {"a": 1}}),
        ("Feature: x has element with unexpected JSON type: Object",),
    ),
    "floats, then text": (
        CLASSIFY,
        body("", {"x": [1.0, "a"]}),
        ("Unexpected element type in feature: x expecting type: float",),
    ),
    "integers, then floats": (
        CLASSIFY,
        body("", {"x": [1, 1.5]}),
        ("Unexpected element type in feature: x expecting type: int64",),
    ),
    "text, then integers": (
        CLASSIFY,
        body("", {"x": ["a", 1]}),
        ("Unexpected element type in feature: x expecting type: bytes",),
    ),
    "an integer beyond int64": (
        CLASSIFY,
        body("", {"x": 2**64 - 1}),
        ("Feature: x has uint64_t element. Only int64_t is supported.",),
    ),
    "the body is read before the model is looked up": (
        "nobody:classify",
        body("", 1),
        ("Example must be JSON object but got JSON Number",),
    ),
    "an unknown signature": (
        CLASSIFY,
        body("nothing", {"x": 1.0}),
        ("No signature was found with the name: nothing",),
    ),
    "a float feature given as an integer fails in the graph": (
        CLASSIFY,
        body("classify_x_to_y", {"x": 2}),
        (),
    ),
    "a signature of another kind": (
        REGRESS,
        body("classify_x_to_y", {"x": 2.0}),
        ("No regression outputs found",),
    ),
}
examples.each(
    EXAMPLE_ERRORS, lambda server, path, body, parts: refuses(server, path, body, *parts), "400: {}"
)


@examples.case("400: a signature_name that is not UTF-8")
def _(server: Server) -> None:
    data = b'{"signature_name": "no\xe5\xf3", "examples": [{"x": 1.0}]}'
    refuses(server, CLASSIFY, data, "No signature was found with the name: no")


@examples.case("404: an unknown model")
def _(server: Server) -> None:
    refuses(
        server,
        "nobody:classify",
        body("", {"x": 1.0}),
        "Servable not found for request: Latest(nobody)",
        status=404,
    )


@examples.case("NaN and infinities in and out of regress")
def _(server: Server) -> None:
    path, text = (
        f"{M}/examples:regress",
        '{"signature_name": "vector", "examples": [{"x": NaN}, {"x": -Infinity}, {"x": Inf}]}',
    )
    reply = server.post(path, text)
    equal(reply.status, 200, f"HTTP status (body {reply.text[:200]!r})")
    close(reply.json["results"], [math.nan, -math.inf, math.inf])
    contains(reply.text, "NaN", "-Infinity")


SECTIONS = (examples,)
