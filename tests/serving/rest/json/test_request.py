"""Predict, classify and regress bodies to arrays and examples, with every error text."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2 as t
from tensorflow_serving.apis import classification_pb2

from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.rest.json import request as json_request
from tf_mlm.serving.rest.json.values import decode_base64

X_FLOAT = {"x": t.DT_FLOAT}
AB = {"a": t.DT_INT32, "b": t.DT_STRING}


def inputs_of(document: dict, inputs: dict) -> dict[str, np.ndarray]:
    return json_request.predict_inputs(document, inputs)[0]


@pytest.mark.parametrize(
    ("document", "inputs", "expected"),
    [
        ({"instances": [[1, 2], [3, 4]]}, {"x": t.DT_INT32}, {"x": np.int32([[1, 2], [3, 4]])}),
        ({"instances": [1, 2.5, 3]}, X_FLOAT, {"x": np.float32([1, 2.5, 3])}),
        ({"instances": [{"x": 1}, {"x": 2}]}, X_FLOAT, {"x": np.float32([1, 2])}),
        ({"instances": [[]]}, X_FLOAT, {"x": np.zeros((1, 0), np.float32)}),
        ({"instances": [{"b64": "aGk="}, {"b64": "aG8"}]}, {"x": t.DT_STRING}, {"x": [b"hi", b"ho"]}),
        ({"instances": [["a", {"b64": "aGk="}]]}, {"x": t.DT_STRING}, {"x": [[b"a", b"hi"]]}),
        (
            {"instances": [{"a": 1, "b": "x"}, {"b": "y", "a": 2}]},
            AB,
            {"a": np.int32([1, 2]), "b": [b"x", b"y"]},
        ),
        ({"instances": [{"a": [1], "b": {"b64": "eA=="}}]}, AB, {"a": np.int32([[1]]), "b": [b"x"]}),
        ({"inputs": 3}, X_FLOAT, {"x": np.float32(3)}),
        ({"inputs": []}, X_FLOAT, {"x": np.zeros(0, np.float32)}),
        ({"inputs": {"x": [1, 2]}}, X_FLOAT, {"x": np.float32([1, 2])}),
        ({"inputs": {"b64": "aGk="}}, {"x": t.DT_STRING}, {"x": b"hi"}),
        ({"inputs": {"a": 1, "b": ["x"], "extra": 9}}, AB, {"a": np.int32(1), "b": [b"x"]}),
        ({"inputs": [True, False]}, {"x": t.DT_BOOL}, {"x": np.array([True, False])}),
        ({"inputs": [300, -1]}, {"x": t.DT_UINT8}, {"x": np.uint8([44, 255])}),
        ({"inputs": [2**64 - 1]}, {"x": t.DT_UINT64}, {"x": np.uint64([2**64 - 1])}),
        ({"inputs": [1.7976931348623157e308, -1.7976931348623157e308]}, X_FLOAT, {"x": [np.inf, -np.inf]}),
        ({"inputs": [2.2250738585072014e-308]}, X_FLOAT, {"x": np.float32([0])}),
        ({"inputs": [1435774380, 1435774380.0]}, X_FLOAT, {"x": np.float32([1435774380] * 2)}),
    ],
)
def test_values(document: dict, inputs: dict, expected: dict) -> None:
    found = inputs_of(document, inputs)
    assert found.keys() == expected.keys()
    for alias, array in found.items():
        want = expected[alias]
        want = want if isinstance(want, np.ndarray | np.generic) else np.array(want, object)
        assert array.shape == want.shape
        np.testing.assert_array_equal(array, want)


WRAPPED = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: {}"


@pytest.mark.parametrize(
    ("document", "inputs", "message"),
    [
        ({}, X_FLOAT, "Missing 'inputs' or 'instances' key"),
        ({"inputs": 1, "instances": 1}, X_FLOAT, "Not formatted correctly expecting only one of"),
        ({"instances": 1}, X_FLOAT, "Expecting 'instances' to be an list/array"),
        ({"instances": []}, X_FLOAT, "No values in 'instances' array"),
        (
            {"instances": [1, 2]},
            AB,
            "instances is a plain list, but expecting list of objects as multiple input",
        ),
        ({"instances": [{"a": 1, "b": "x"}, 2]}, AB, "Expecting object but got list at item 1 of input list"),
        (
            {"instances": [1, {"x": 2}]},
            X_FLOAT,
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            {"instances": [{"x": 1, "y": 2}]},
            X_FLOAT,
            "Failed to process element: 0 key: y of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: y",
        ),
        ({"instances": [{"a": 1}]}, AB, "keys must be equal to: a,b"),
        ({"instances": [[1, 2], [3]]}, X_FLOAT, WRAPPED.format(1, "Expecting tensor size: 2 but got: 1")),
        (
            {"instances": [[[1], [2]], [[3, 4]]]},
            X_FLOAT,
            WRAPPED.format(1, "Expecting shape [2,1] but got: [1,2]"),
        ),
        (
            {"instances": [[[1, 2], [3]]]},
            X_FLOAT,
            WRAPPED.format(0, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ),
        (
            {"instances": [[1, [1]]]},
            X_FLOAT,
            WRAPPED.format(0, "Encountered list at unexpected level: 1 expected < 1"),
        ),
        (
            {"instances": [[[1], 1]]},
            X_FLOAT,
            WRAPPED.format(
                0, "JSON Value: 1 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"
            ),
        ),
        (
            {"instances": ["a"]},
            X_FLOAT,
            WRAPPED.format(0, 'JSON Value: "a" Type: String is not of expected type: float'),
        ),
        ({"inputs": [1, None]}, X_FLOAT, "JSON Value: null Type: Null is not of expected type: float"),
        ({"inputs": [True]}, X_FLOAT, "JSON Value: true Type: True is not of expected type: float"),
        (
            {"inputs": [False]},
            {"x": t.DT_INT32},
            "JSON Value: false Type: False is not of expected type: int32",
        ),
        ({"inputs": [1.0]}, {"x": t.DT_INT64}, "JSON Value: 1.0 Type: Number is not of expected type: int64"),
        ({"inputs": [2**31]}, {"x": t.DT_INT32}, "JSON Value: 2147483648 Type: Number"),
        ({"inputs": [-1]}, {"x": t.DT_UINT32}, "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ({"inputs": [1]}, {"x": t.DT_BOOL}, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ({"inputs": [1]}, {"x": t.DT_STRING}, "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"inputs": [{"a": 1}]}, X_FLOAT, "Type: Object is not of expected type: float"),
        ({"inputs": [{"b64": 1}]}, {"x": t.DT_STRING}, "not formatted correctly for base64 data"),
        ({"inputs": [{"b64": "a-_b"}]}, {"x": t.DT_STRING}, "Unable to base64 decode"),
        ({"inputs": [{"b64": "aGk=="}]}, {"x": t.DT_STRING}, "Unable to base64 decode"),
        (
            {"inputs": 1},
            AB,
            "inputs is a plain value/list, but expecting an object as multiple input tensors",
        ),
        ({"inputs": {"a": 1}}, AB, "Missing named input: b in 'inputs' object."),
    ],
)
def test_errors(document: dict, inputs: dict, message: str) -> None:
    with pytest.raises(ServingError) as error:
        inputs_of(document, inputs)
    assert error.value.code is Code.INVALID_ARGUMENT
    assert message in error.value.message


def test_unsupported_type_is_unimplemented_only_in_columnar_form() -> None:
    half = {"x": t.DT_HALF}
    with pytest.raises(ServingError, match="Conversion of JSON Value: 1 to type: half") as error:
        inputs_of({"inputs": [1]}, half)
    assert error.value.code is Code.UNIMPLEMENTED
    with pytest.raises(
        ServingError, match="UNIMPLEMENTED: Conversion of JSON Value: 1 to type: half"
    ) as error:
        inputs_of({"instances": [1]}, half)
    assert error.value.code is Code.INVALID_ARGUMENT


def test_values_in_messages_are_cut() -> None:
    document = {"signature_name": 5, "long": list(range(1000))}
    with pytest.raises(ServingError, match="'signature_name' key must be a string value") as error:
        json_request.signature_name(document)
    assert len(error.value.message) < 400
    assert error.value.message.startswith('JSON Value: {\n    "signature_name": 5,\n    "long": [0, 1, 2, ')


def test_deep_nesting_in_a_tensor_is_an_error_not_a_crash() -> None:
    body = b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    document = json_request.parse_object(body)
    with pytest.raises(ServingError, match="nested"):
        inputs_of(document, X_FLOAT)


def examples_of(document: dict):
    request = classification_pb2.ClassificationRequest()
    json_request.fill_examples(document, request)
    return request.input


def test_examples_and_context() -> None:
    document = {
        "context": {"c": [1.5]},
        "examples": [
            {"i": [1, True], "f": [1.5, float("inf")], "s": ["a", {"b64": "aGk="}], "e": []},
            {"i": 2},
        ],
    }
    filled = examples_of(document).example_list_with_context
    assert list(filled.context.features.feature["c"].float_list.value) == [1.5]
    features = filled.examples[0].features.feature
    assert list(features["i"].int64_list.value) == [1, 1]
    assert list(features["f"].float_list.value) == [1.5, float("inf")]
    assert list(features["s"].bytes_list.value) == [b"a", b"hi"]
    assert features["e"].WhichOneof("kind") is None
    assert list(filled.examples[1].features.feature["i"].int64_list.value) == [2]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"context": [], "examples": [{}]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"f": None}]}, "Feature: f has element with unexpected JSON type: Null"),
        ({"examples": [{"f": [[1]]}]}, "Feature: f has element with unexpected JSON type: Array"),
        ({"examples": [{"f": {"x": 1}}]}, "Feature: f has element with unexpected JSON type: Object"),
        ({"examples": [{"f": [1, "a"]}]}, "Unexpected element type in feature: f expecting type: int64"),
        ({"examples": [{"f": ["a", 1]}]}, "Unexpected element type in feature: f expecting type: bytes"),
        ({"examples": [{"f": [1.5, 1]}]}, "Unexpected element type in feature: f expecting type: float"),
        ({"examples": [{"f": [2**63]}]}, "Feature: f has uint64_t element. Only int64_t is supported."),
    ],
)
def test_example_errors(document: dict, message: str) -> None:
    with pytest.raises(ServingError) as error:
        examples_of(document)
    assert message in error.value.message


def test_top_level_must_be_an_object() -> None:
    with pytest.raises(ServingError, match=r"JSON Value: \[1, 2\] Is not object"):
        json_request.parse_object(json.dumps([1, 2]).encode())


@pytest.mark.parametrize("end", ["", "!", "=", "===", "é", "=a"])
def test_base64_is_read_in_time_that_grows_with_its_length(end: str) -> None:
    """A pattern that can divide the blanks in many ways would take hours for these."""
    value = {"b64": " \n" * 1_000_000 + end}
    if end:
        with pytest.raises(ServingError, match="Unable to base64 decode"):
            decode_base64(value)
    else:
        assert decode_base64(value) == b""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aG k=\n", b"hi"),
        (" a\tG8", b"ho"),
        ("aGk=aGk=", None),
        ("aGk\xa0=", None),
        ("a", None),
        ("a=G8", None),
    ],
)
def test_blanks_and_padding_in_base64(text: str, expected: bytes | None) -> None:
    if expected is None:
        with pytest.raises(ServingError, match="Unable to base64 decode"):
            decode_base64({"b64": text})
    else:
        assert decode_base64({"b64": text}) == expected


@pytest.mark.parametrize("dtype", [t.DT_FLOAT, t.DT_INT32, t.DT_UINT64, t.DT_BOOL, t.DT_STRING])
def test_tensors_longer_than_a_step(dtype: int) -> None:
    values = {t.DT_BOOL: [True, False], t.DT_STRING: ["a", "b"]}.get(dtype, [1, 2]) * 100_000
    read = inputs_of({"inputs": values}, {"x": dtype})["x"]
    assert read.tolist() == ([b"a", b"b"] * 100_000 if dtype == t.DT_STRING else values)
    wrong = [*values, None]
    with pytest.raises(ServingError, match="JSON Value: null Type: Null is not of expected type"):
        inputs_of({"inputs": wrong}, {"x": dtype})


@pytest.mark.parametrize("depth", [9, 33, 254, 5000])
@pytest.mark.parametrize("key", ["inputs", "instances"])
def test_a_rank_that_no_tensor_can_have(depth: int, key: str) -> None:
    value: object = "text"
    for _ in range(depth):
        value = [value]
    with pytest.raises(ServingError, match=rf"nested at most 8 deep in a tensor; got {depth}") as error:
        inputs_of({key: value}, {"x": t.DT_STRING})
    assert error.value.code is Code.INVALID_ARGUMENT


def test_a_long_text_is_quoted_by_its_beginning() -> None:
    with pytest.raises(ServingError) as error:
        inputs_of({"inputs": "x" * 10_000_000}, {"x": t.DT_INT32})
    assert len(error.value.message) < 1000
    assert error.value.message.endswith('x..." Type: String is not of expected type: int32')
