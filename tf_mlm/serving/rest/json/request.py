"""Bodies of REST requests to arrays and examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2

from tf_mlm.serving.errors import ServingError, invalid_argument
from tf_mlm.serving.rest.json.debug import describe, type_name
from tf_mlm.serving.rest.json.reader import UNLIMITED, parse
from tf_mlm.serving.rest.json.scalars import is_integer
from tf_mlm.serving.rest.json.values import (
    as_bytes,
    bulk,
    decode_base64,
    format_error,
    is_base64,
    to_array,
    typed,
    walk,
)


def parse_object(body: bytes | bytearray, max_values: int = UNLIMITED) -> dict[str, Any]:
    """The top-level object of a request body, if it holds no more than `max_values`."""
    value = parse(body, max_values)
    if not isinstance(value, dict):
        raise invalid_argument(f"JSON Value: {describe(value)} Is not object")
    return value


def signature_name(document: Mapping[str, Any]) -> str:
    """The `signature_name` member, empty if absent."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


# ---- predict -----------------------------------------------------------------------------------


def predict_inputs(
    document: Mapping[str, Any], inputs: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], bool]:
    """Input alias to array, and whether the request was in row form.

    Args:
        document: the parsed body.
        inputs: the signature's input aliases with their `DataType`.

    Example:
        >>> from tf_mlm.serving.rest.json.request import predict_inputs
        >>> arrays, rows = predict_inputs({"instances": [[1, 2], [3, 4]]}, {"x": 1})
        >>> arrays["x"].tolist(), rows
        ([[1.0, 2.0], [3.0, 4.0]], True)
    """
    if "instances" in document:
        instances = document["instances"]
        if "inputs" in document:
            raise format_error(
                document,
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
            )
        if not isinstance(instances, list):
            raise format_error(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise format_error(document, "No values in 'instances' array")
        return _from_rows(instances, inputs), True
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs), False
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _from_columns(value: Any, inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        ((alias, dtype),) = inputs.items()
        return {alias: to_array(value, dtype)}
    arrays = {}
    for alias, dtype in inputs.items():
        if alias not in value:
            raise invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
        arrays[alias] = to_array(value[alias], dtype)
    return arrays


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _from_rows(instances: list[Any], inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    if not _is_named(instances[0]):
        alias = next(iter(inputs))
        if len(inputs) == 1:
            array = bulk(instances, inputs[alias])
            if array is not None:
                return {alias: array}
        return {alias: _plain_rows(instances, inputs[alias])}
    names = inputs.keys()
    if all(type(item) is dict and item.keys() == names for item in instances):
        arrays = {alias: bulk([item[alias] for item in instances], dtype) for alias, dtype in inputs.items()}
        complete = {alias: array for alias, array in arrays.items() if array is not None}
        if len(complete) == len(arrays):
            return complete
    return _named_rows(instances, inputs)


class _Stack:
    """Rows of one input, all of the first one's shape."""

    def __init__(self, dtype: int) -> None:
        self._dtype = dtype
        self._values: list[Any] = []
        self._shape: list[int] | None = None
        self._rows = 0

    def add(self, value: Any) -> None:
        shape, flat = walk(value, self._dtype, outer=1)
        if self._shape is None:
            self._shape, self._size = shape, len(flat)
        elif len(flat) != self._size:
            raise invalid_argument(f"Expecting tensor size: {self._size} but got: {len(flat)}")
        elif shape != self._shape:
            raise invalid_argument(f"Expecting shape {_bracketed(self._shape)} but got: {_bracketed(shape)}")
        self._values += flat
        self._rows += 1

    def array(self) -> np.ndarray:
        return typed(self._values, self._dtype).reshape([self._rows, *(self._shape or [])])


def _bracketed(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _plain_rows(instances: list[Any], dtype: int) -> np.ndarray:
    stack = _Stack(dtype)
    for index, item in enumerate(instances):
        if _is_named(item):
            raise invalid_argument(f"Expecting value/list but got object at item {index} of input list")
        try:
            stack.add(item)
        except ServingError as error:
            raise invalid_argument(
                f"Failed to process element: {index} of 'instances' list. Error: {error}"
            ) from error
    return stack.array()


def _named_rows(instances: list[Any], inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
    stacks = {alias: _Stack(dtype) for alias, dtype in inputs.items()}
    for index, item in enumerate(instances):
        if not _is_named(item):
            raise invalid_argument(f"Expecting object but got list at item {index} of input list")
        for key, value in item.items():
            try:
                if key not in stacks:
                    raise invalid_argument(f"JSON object: does not have named input: {key}")
                stacks[key].add(value)
            except ServingError as error:
                raise invalid_argument(
                    f"Failed to process element: {index} key: {key} of 'instances' list. Error: {error}"
                ) from error
        if item.keys() != inputs.keys():
            raise invalid_argument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {describe(item)} "
                f"keys must be equal to: {','.join(sorted(inputs))}"
            )
    return {alias: stack.array() for alias, stack in stacks.items()}


# ---- classify and regress ----------------------------------------------------------------------


def fill_examples(document: Mapping[str, Any], request: Any) -> None:
    """Puts the `examples` (and `context`) of a body into a Classification- or RegressionRequest."""
    add: Callable[[], Any] = request.input.example_list.examples.add
    if "context" in document:
        with_context = request.input.example_list_with_context
        with_context.context.CopyFrom(_example(document["context"]))
        add = with_context.examples.add
    if "examples" not in document:
        raise format_error(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise format_error(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise format_error(document, "'examples' value is an empty array")
    for example in examples:
        add().CopyFrom(_example(example))


def _example(value: Any) -> Any:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_name(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        feature = feature_pb2.Feature()
        for item in content if isinstance(content, list) else [content]:
            _add_to_feature(item, name, feature)
        key = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        example.features.feature[key].CopyFrom(feature)
    return example


def _add_to_feature(value: Any, name: str, feature: Any) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
    if isinstance(value, (str, dict)):
        kind = "bytes"
    else:
        kind = "int64" if isinstance(value, bool) or is_integer(value) else "float"
    present = (feature.WhichOneof("kind") or f"{kind}_list").removesuffix("_list")
    if present != kind:
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {present}")
    if kind == "bytes":
        feature.bytes_list.value.append(decode_base64(value) if isinstance(value, dict) else as_bytes(value))
    elif kind == "float":
        feature.float_list.value.append(float(value))
    elif value >= 2**63:
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    else:
        feature.int64_list.value.append(int(value))
