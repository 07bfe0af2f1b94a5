"""Section 4.4: what predict makes of a body."""

from __future__ import annotations

from typing import Any

from conformance.case import Needs, Section
from conformance.expectations import contains, equal
from conformance.rest import M, answers, refuses
from conformance.server import Server

predict = Section("4.4 Predict requests", Needs.SERVER)

HALF = "half_plus_two:predict"
PAIR = "pair:predict"

# title → path, body, expected body.
ANSWERS: dict[str, tuple[str, Any, Any]] = {
    "row form": (HALF, {"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
    "columnar form": (HALF, {"inputs": [2.0, 3.0, 4.0]}, {"outputs": [3.0, 3.5, 4.0]}),
    "an explicit signature": (
        HALF,
        {"signature_name": "serving_default", "instances": [2.0]},
        {"predictions": [3.0]},
    ),
    "an empty signature name means the default": (
        HALF,
        {"signature_name": "", "instances": [2.0]},
        {"predictions": [3.0]},
    ),
    "shapes come from the data, not from the signature": (
        HALF,
        {"instances": [[1.0, 2.0], [3.0, 4.0]]},
        {"predictions": [[2.5, 3.0], [3.5, 4.0]]},
    ),
    "one input by name, row form": (
        HALF,
        {"instances": [{"x": 2.0}, {"x": 4.0}]},
        {"predictions": [3.0, 4.0]},
    ),
    "one input by name, columnar form": (
        HALF,
        {"inputs": {"x": [[2.0], [4.0]]}},
        {"outputs": [[3.0], [4.0]]},
    ),
    "a scalar in columnar form": (HALF, {"inputs": 2.0}, {"outputs": 3.0}),
    "an empty list in columnar form": (HALF, {"inputs": []}, {"outputs": []}),
    "empty rows": ("dtypes:predict", {"instances": [[], []]}, {"predictions": [[], []]}),
    "an extra name is ignored in columnar form": (
        HALF,
        {"inputs": {"x": [2.0], "more": [1]}},
        {"outputs": [3.0]},
    ),
    "two inputs, row form": (
        PAIR,
        {"instances": [{"a": 5.0, "b": 3.0}, {"b": 1.0, "a": 1.0}]},
        {"predictions": [{"sum": 8.0, "difference": 2.0}, {"sum": 2.0, "difference": 0.0}]},
    ),
    "two inputs, columnar form": (
        PAIR,
        {"inputs": {"a": [5.0, 1.0], "b": [3.0, 1.0]}},
        {"outputs": {"sum": [8.0, 2.0], "difference": [2.0, 0.0]}},
    ),
    "columns need no common first dimension": (
        PAIR,
        {"signature_name": "columns", "inputs": {"a": [1.0, 2.0, 3.0], "b": 4.0}},
        {"outputs": {"a": [1.0, 2.0, 3.0], "b": 4.0}},
    ),
    "four dtypes at once": (
        "mixed:predict",
        {
            "inputs": {
                "ints": [1, -2],
                "texts": ["a", {"b64": "Yg=="}],
                "floats": [0.5, 2],
                "doubles": [1e300, 0.1],
            }
        },
        {"outputs": {"ints": [1, -2], "texts": ["a", "b"], "floats": [0.5, 2.0], "doubles": [1e300, 0.1]}},
    ),
    "four dtypes at once, row form": (
        "mixed:predict",
        {"instances": [{"ints": [1], "texts": "a", "floats": 1, "doubles": [[2]]}]},
        {"predictions": [{"ints": [1], "texts": "a", "floats": 1.0, "doubles": [[2.0]]}]},
    ),
    "base64 scalars": (
        "strings:predict",
        {"signature_name": "plain", "instances": [{"b64": "aGk="}, {"b64": "aGk"}]},
        {"predictions": ["hi", "hi"]},
    ),
    "base64 in lists": (
        "strings:predict",
        {"signature_name": "plain", "instances": [["a", {"b64": "aGk="}]]},
        {"predictions": [["a", "hi"]]},
    ),
    "base64 under a name": (
        "strings:predict",
        {"signature_name": "plain", "instances": [{"text": {"b64": "aGk="}}]},
        {"predictions": ["hi"]},
    ),
    "a base64 scalar in columnar form": (
        "strings:predict",
        {"signature_name": "plain", "inputs": {"b64": "aGk="}},
        {"outputs": "hi"},
    ),
    "classify and regress signatures through predict": (
        HALF,
        {"signature_name": "regress_x2_to_y3", "instances": [[2.0]]},
        {"predictions": [[4.0]]},
    ),
    "TF2, by signature": (
        "scale:predict",
        {"signature_name": "custom_signature_key", "instances": [4.0]},
        {"predictions": [40.0]},
    ),
    "TF-Text": ("tf_text:predict", {"instances": ["a few  words"]}, {"predictions": ["a|few|words"]}),
}
predict.each(ANSWERS, answers)

# title → path, body, parts of the error; all 400.
ERRORS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "signature_name is a number": (
        HALF,
        {"signature_name": 5, "instances": [1.0]},
        ("'signature_name' key must be a string value.",),
    ),
    "signature_name is checked before the model": (
        "nobody:predict",
        {"signature_name": 5},
        ("'signature_name' key must be a string value.",),
    ),
    "unknown signature": (
        HALF,
        {"signature_name": "nothing", "instances": [1.0]},
        ('Serving signature name: "nothing" not found in signature def',),
    ),
    "a signature without inputs": (
        "shapes:predict",
        {"signature_name": "no_inputs", "inputs": {}},
        ("Failed to get input map for signature: no_inputs",),
    ),
    "neither key": (HALF, {"signature_name": ""}, ("Missing 'inputs' or 'instances' key",)),
    "both keys": (
        HALF,
        {"inputs": [1.0], "instances": [1.0]},
        ("ot formatted correctly expecting only one of 'inputs' or 'instances' keys to exist",),
    ),
    "instances is no list": (HALF, {"instances": {"x": 1.0}}, ("Expecting 'instances' to be an list/array",)),
    "instances is empty": (HALF, {"instances": []}, ("No values in 'instances' array",)),
    "plain items for two inputs": (
        PAIR,
        {"instances": [1.0, 2.0]},
        (
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map",
        ),
    ),
    "a base64 object for two inputs": (
        "mixed:predict",
        {"instances": [{"b64": "aGk="}]},
        (),
    ),
    "an object, then a list": (
        PAIR,
        {"instances": [{"a": 1.0, "b": 1.0}, [1.0]]},
        ("Expecting object but got list at item 1 of input list",),
    ),
    "a value, then an object": (
        HALF,
        {"instances": [1.0, {"x": 1.0}]},
        ("Expecting value/list but got object at item 1 of input list",),
    ),
    "an unknown input in an item": (
        PAIR,
        {"instances": [{"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0}]},
        (
            "Failed to process element: 1 key: c of 'instances' list. Error: INVALID_ARGUMENT: JSON object: "
            "does not have named input: c",
        ),
    ),
    "an item without one of the inputs": (
        PAIR,
        {"instances": [{"a": 1.0}]},
        ("Failed to process element: 0 of 'instances' list. JSON object: ", "keys must be equal to: a,b"),
    ),
    "items of different sizes": (
        HALF,
        {"instances": [[1.0], [1.0, 2.0]]},
        (
            "Failed to process element: 1",
            "of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1 but got: 2",
        ),
    ),
    "items of one size and different shapes": (
        HALF,
        {"instances": [[[1.0], [2.0]], [[1.0, 2.0]]]},
        ("Error: INVALID_ARGUMENT: Expecting shape [2,1] but got: [1,2]",),
    ),
    "a ragged list inside an item": (
        HALF,
        {"instances": [[[1.0], [1.0, 2.0]]]},
        ("Encountered list at unexpected size: 2 at level: ", "expected size: 1"),
    ),
    "a list beside a scalar": (
        HALF,
        {"instances": [[1.0, [2.0]]]},
        ("Encountered list at unexpected level: ",),
    ),
    "a scalar beside a list": (
        HALF,
        {"instances": [[[1.0], 2.0]]},
        ("JSON Value: 2.0 found at incorrect level: ", "in the JSON DOM. Expected at level: 2"),
    ),
    "a string for a float, row form": (
        HALF,
        {"instances": ["text"]},
        (
            "Failed to process element: 0",
            "of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: "text" Type: String is not of expected type: float',
        ),
    ),
    "a string for a float, columnar form": (
        HALF,
        {"inputs": ["text"]},
        ('JSON Value: "text" Type: String is not of expected type: float',),
    ),
    "null for a float": (
        HALF,
        {"instances": [None]},
        ("JSON Value: null Type: Null is not of expected type: float",),
    ),
    "true for a float": (
        HALF,
        {"instances": [True]},
        ("JSON Value: true Type: True is not of expected type: float",),
    ),
    "false for an int32": (
        "dtypes:predict",
        {"signature_name": "int32", "instances": [False]},
        ("JSON Value: false Type: False is not of expected type: int32",),
    ),
    "a number for a string": (
        "strings:predict",
        {"instances": [1]},
        ("JSON Value: 1 Type: Number is not of expected type: string",),
    ),
    "a plain value for two inputs, columnar form": (
        PAIR,
        {"inputs": [1.0]},
        (
            "inputs is a plain value/list, but expecting an object as multiple input tensors required "
            "as per tensorinfo_map",
        ),
    ),
    "a missing name, columnar form": (
        PAIR,
        {"inputs": {"a": [1.0]}},
        ("Missing named input: b in 'inputs' object.",),
    ),
    "signature defaults are not used by REST": (
        PAIR,
        {"signature_name": "with_default", "inputs": {"a": [1.0]}},
        ("Missing named input: b in 'inputs' object.",),
    ),
    "a base64 object with another key": (
        "strings:predict",
        {"signature_name": "plain", "inputs": {"text": {"b64": "aGk=", "c": 1}}},
        ("not formatted correctly for base64 data",),
    ),
    "a base64 object whose value is no string": (
        "strings:predict",
        {"signature_name": "plain", "inputs": {"text": [{"b64": 5}]}},
        ("not formatted correctly for base64 data",),
    ),
    "base64 that does not decode": (
        "strings:predict",
        {"signature_name": "plain", "inputs": [{"b64": "a"}]},
        ("Unable to base64 decode",),
    ),
    "the URL alphabet of base64": (
        "strings:predict",
        {"signature_name": "plain", "inputs": [{"b64": "_-_-"}]},
        ("Unable to base64 decode",),
    ),
    "shapes the graph cannot combine": (
        PAIR,
        {"inputs": {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}},
        (),
    ),
}
predict.each(ERRORS, lambda server, path, body, parts: refuses(server, path, body, *parts), "400: {}")


@predict.case("400: a signature_name that is not UTF-8")
def _(server: Server) -> None:
    data = b'{"signature_name": "no\xe5\xf3", "instances": [1.0]}'
    refuses(server, HALF, data, 'Serving signature name: "no')


@predict.case("JSON is parsed before the model is looked up")
def _(server: Server) -> None:
    refuses(server, "nobody:predict", "{", "JSON Parse error: ")


@predict.case("values in error texts are printed on one line and cut after 256 bytes")
def _(server: Server) -> None:
    # A list of 200 numbers at top level: the text stops as soon as 256 bytes are out.
    reply = server.post(f"{M}/dtypes:predict", "[" + ", ".join(["1.5"] * 200) + "]")
    equal(reply.status, 400, "HTTP status")
    contains(reply.error, "JSON Value: [1.5, 1.5, 1.5", "Is not object")
    length = len(reply.error) - len("JSON Value:  Is not object")
    assert 250 <= length <= 270, f"the printed value has {length} characters, expected about 256"


SECTIONS = (predict,)
