"""Layout and number formatting of REST responses."""

from __future__ import annotations

import itertools
import json
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow_serving.apis import classification_pb2, regression_pb2

from tf_mlm.serving.errors import Code, ServingError
from tf_mlm.serving.rest.json import writer as json_writer
from tf_mlm.serving.rest.json.debug import quote


def text(block: str) -> str:
    return textwrap.dedent(block).strip("\n")


FLOATS = {
    9000000.0: "9e+06",
    999999.0: "999999.0",
    0.5: "0.5",
    0.0003: "0.0003",
    3e-05: "3e-05",
    555557.5: "555557.5",
    12345678.0: "12345678.0",
    -0.0: "-0.0",
    1 / 3: "0.333333343",
    float("nan"): "NaN",
    float("inf"): "Infinity",
    float("-inf"): "-Infinity",
    3.0: "3.0",
}


@pytest.mark.parametrize(("value", "written"), FLOATS.items())
def test_float32(value: float, written: str) -> None:
    assert json_writer.format_floats(np.float32([value])) == [written]


def test_float64_uses_seventeen_digits_only_when_needed() -> None:
    assert json_writer.format_floats(np.float64([0.1, 1 / 3])) == ["0.1", "0.33333333333333331"]


@given(arrays.arrays(st.sampled_from([np.float32, np.float64]), st.integers(0, 20)))
@settings(max_examples=200, deadline=None)
def test_floats_read_back_exactly(values: np.ndarray) -> None:
    read = np.array([float(number) for number in json_writer.format_floats(values)], values.dtype)
    np.testing.assert_array_equal(read, values)


def test_more_floats_than_are_formatted_at_once() -> None:
    values = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    values[::1000] = np.inf
    parts = (json_writer.format_floats(part) for part in np.split(values, 50))
    assert json_writer.format_floats(values) == list(itertools.chain.from_iterable(parts))


def test_rows_of_one_output() -> None:
    assert json_writer.predictions({"y": np.float32([[1, 2], [3, 4]])}, True) == text("""
        {
            "predictions": [[1.0, 2.0], [3.0, 4.0]
            ]
        }
    """)


def test_rows_of_several_outputs() -> None:
    outputs = {"a": np.int32([[1, 2], [3, 4]]), "b_bytes": np.array([b"x", b"y"], object)}
    assert json_writer.predictions(outputs, True) == text("""
        {
            "predictions": [
                {
                    "a": [1, 2],
                    "b_bytes": {
                        "b64": "eA=="
                    }
                },
                {
                    "a": [3, 4],
                    "b_bytes": {
                        "b64": "eQ=="
                    }
                }
            ]
        }
    """)


def test_columns_put_every_element_on_its_line() -> None:
    assert json_writer.predictions({"y": np.float32([[1], [2]])}, False) == text("""
        {
            "outputs": [
                [
                    1.0
                ],
                [
                    2.0
                ]
            ]
        }
    """)


def test_columns_of_several_outputs_with_a_scalar() -> None:
    outputs = {"a": np.int64(7), "b": np.array([True, False])}
    outputs["a"] = np.asarray(outputs["a"])
    assert json_writer.predictions(outputs, False) == text("""
        {
            "outputs": {
                "a": 7,
                "b": [
                    true,
                    false
                ]
            }
        }
    """)


def test_strings_are_verbatim_and_only_control_characters_escaped() -> None:
    array = np.array(['/é\n\u0001"\\'.encode(), b"\xff"], object)
    body = json_writer.predictions({"s": array}, True).encode("utf-8", "surrogateescape")
    assert b'["/\xc3\xa9\\n\\u0001\\"\\\\", "\xff"\n' in body


@pytest.mark.parametrize("row_form", [True, False])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        np.zeros((2, 0, 3), np.float32),
        np.zeros((0, 2), np.float32),
        np.uint64([2**64 - 1]),
        np.array([[b"a"], [b"b"]], object),
    ],
    ids=str,
)
def test_json_module_reads_the_same_values(array: np.ndarray, row_form: bool) -> None:
    body = json.loads(json_writer.predictions({"y": array}, row_form))
    expected = np.vectorize(lambda v: v.decode() if isinstance(v, bytes) else v, otypes="O")(array).tolist()
    assert body["predictions" if row_form else "outputs"] == expected


@pytest.mark.parametrize(
    ("outputs", "row_form", "message"),
    [
        ({}, True, "Cannot convert empty tensor map to JSON"),
        ({"c": np.complex64([1])}, True, "Failed to write JSON value for tensor type: complex64"),
        ({"s": np.array(1.0)}, True, "Tensor name: s has no shape information "),
        (
            {"a": np.zeros(2), "b": np.zeros(3)},
            True,
            "Tensor name: b has inconsistent batch size: 3 expecting: 2",
        ),
        (
            {"a": np.zeros((0, 2)), "b": np.zeros(1)},
            True,
            "Tensor name: b has inconsistent batch size: 1 expecting: 0",
        ),
    ],
)
def test_errors(outputs: dict, row_form: bool, message: str) -> None:
    with pytest.raises(ServingError) as error:
        json_writer.predictions(outputs, row_form)
    assert (error.value.code, error.value.message) == (Code.INVALID_ARGUMENT, message)


def test_classification_and_regression_results() -> None:
    result = classification_pb2.ClassificationResult()
    for label, score in (("a", 1.5), ('"', float("nan"))):
        result.classifications.add().classes.add(label=label, score=score)
    assert json_writer.classifications(result) == text("""
        {
            "results": [[["a", 1.5]], [["\\"", NaN]]
            ]
        }
    """)
    regression = regression_pb2.RegressionResult()
    for value in (0.2, 0.9):
        regression.regressions.add(value=value)
    assert json_writer.regressions(regression) == '{\n    "results": [0.2, 0.9]\n}'
    with pytest.raises(ServingError, match="Cannot convert empty ClassificationResults to JSON"):
        json_writer.classifications(classification_pb2.ClassificationResult())
    with pytest.raises(ServingError, match="Cannot convert empty RegressionResults to JSON"):
        json_writer.regressions(regression_pb2.RegressionResult())


@pytest.mark.parametrize("around", ["", "é", "\udcff", "\U0001f600"])
def test_strings_are_escaped_alike_with_and_without_letters_beyond_ascii(around: str) -> None:
    given_text = around + "".join(map(chr, range(128))) + around
    expected = "".join(
        {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(
            letter, letter if letter >= " " else f"\\u{ord(letter):04X}"
        )
        for letter in given_text
    )
    assert quote(given_text) == f'"{expected}"'
