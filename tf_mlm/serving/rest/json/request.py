"""Bodies of REST requests to arrays and examples.

A tensor's shape comes from the data: the first element at each level. Well-formed values are
converted in bulk; anything irregular goes through an element-by-element walk, which finds the
error TF-Serving would have found first.
"""

from __future__ import annotations

import binascii
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import types_pb2

from tf_mlm.serving.errors import Code, ServingError, invalid_argument
from tf_mlm.serving.input_limits import MAX_RANK
from tf_mlm.serving.rest.json.debug import describe, type_name
from tf_mlm.serving.rest.json.reader import UNLIMITED, is_integer, parse
from tf_mlm.serving.tensor_codec import data_type_name

_STEP = 64 * 1024
_INT32 = range(-(2**31), 2**31)
# DataType -> (NumPy type, integers allowed in JSON)
_INTEGERS: dict[int, tuple[type, range]] = {
    types_pb2.DT_INT32: (np.int32, _INT32),
    types_pb2.DT_INT16: (np.int16, _INT32),
    types_pb2.DT_INT8: (np.int8, _INT32),
    types_pb2.DT_UINT8: (np.uint8, _INT32),
    types_pb2.DT_INT64: (np.int64, range(-(2**63), 2**63)),
    types_pb2.DT_UINT32: (np.uint32, range(2**32)),
    types_pb2.DT_UINT64: (np.uint64, range(2**64)),
}
_FLOATS: dict[int, type] = {types_pb2.DT_FLOAT: np.float32, types_pb2.DT_DOUBLE: np.float64}


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
        raise _format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def _format_error(value: Any, text: str) -> ServingError:
    return invalid_argument(f"JSON Value: {describe(value)} {text}")


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
            raise _format_error(
                document,
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
            )
        if not isinstance(instances, list):
            raise _format_error(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _format_error(document, "No values in 'instances' array")
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
    return isinstance(value, dict) and not _is_base64(value)


def _from_rows(instances: list[Any], inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    if not _is_named(instances[0]):
        alias = next(iter(inputs))
        if len(inputs) == 1:
            array = _bulk(instances, inputs[alias])
            if array is not None:
                return {alias: array}
        return {alias: _plain_rows(instances, inputs[alias])}
    names = inputs.keys()
    if all(type(item) is dict and item.keys() == names for item in instances):
        arrays = {alias: _bulk([item[alias] for item in instances], dtype) for alias, dtype in inputs.items()}
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
        shape, flat = _walk(value, self._dtype, outer=1)
        if self._shape is None:
            self._shape, self._size = shape, len(flat)
        elif len(flat) != self._size:
            raise invalid_argument(f"Expecting tensor size: {self._size} but got: {len(flat)}")
        elif shape != self._shape:
            raise invalid_argument(f"Expecting shape {_bracketed(self._shape)} but got: {_bracketed(shape)}")
        self._values += flat
        self._rows += 1

    def array(self) -> np.ndarray:
        return _typed(self._values, self._dtype).reshape([self._rows, *(self._shape or [])])


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


# ---- values to arrays --------------------------------------------------------------------------


def to_array(value: Any, dtype: int) -> np.ndarray:
    """A JSON value (scalar or nested lists) as an array of a `DataType`."""
    array = _bulk(value, dtype)
    if array is None:
        shape, flat = _walk(value, dtype)
        array = _typed(flat, dtype).reshape(shape)
    return array


def _bulk(value: Any, dtype: int) -> np.ndarray | None:
    """The array of a regular value, `None` if anything about it is irregular."""
    shape: list[int] = []
    flat = [value]
    while flat and type(flat[0]) is list:
        size = len(flat[0])
        if len(shape) == MAX_RANK or any(type(item) is not list or len(item) != size for item in flat):
            return None
        shape.append(size)
        flat = list(itertools.chain.from_iterable(flat))
    regular = all(_is_regular(flat[start : start + _STEP], dtype) for start in range(0, len(flat), _STEP))
    return _typed(flat, dtype).reshape(shape) if regular else None


def _is_regular(flat: list[Any], dtype: int) -> bool:
    types = set(map(type, flat))
    if dtype in _FLOATS:
        return types <= {int, float}
    if dtype in _INTEGERS:
        allowed = _INTEGERS[dtype][1]
        return types <= {int} and min(flat) in allowed and max(flat) in allowed
    return types <= {str} if dtype == types_pb2.DT_STRING else dtype == types_pb2.DT_BOOL and types <= {bool}


def _typed(flat: list[Any], dtype: int) -> np.ndarray:
    """Elements as an array, made a step at a time: NumPy keeps Python's lock while it reads a list."""
    kind: Any = _FLOATS.get(dtype) or (_INTEGERS[dtype][0] if dtype in _INTEGERS else np.bool_)
    array = np.empty(len(flat), object if dtype == types_pb2.DT_STRING else kind)
    for start in range(0, len(flat), _STEP):
        values = flat[start : start + _STEP]
        array[start : start + _STEP] = _typed_step(values, dtype)
    return array


def _typed_step(values: list[Any], dtype: int) -> Any:
    if dtype in _FLOATS:
        with np.errstate(over="ignore"):
            return np.array(values, np.float64).astype(_FLOATS[dtype])
    if dtype in _INTEGERS:
        wide = np.uint64 if dtype == types_pb2.DT_UINT64 else np.int64
        return np.array(values, wide).astype(_INTEGERS[dtype][0])
    return [_as_bytes(value) for value in values] if dtype == types_pb2.DT_STRING else values


def _as_bytes(value: Any) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _walk(value: Any, dtype: int, outer: int = 0) -> tuple[list[int], list[Any]]:
    """Shape and converted elements, checked one by one in reading order; `outer` dimensions will be added."""
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    rank = outer + len(shape)
    if rank > MAX_RANK:
        raise invalid_argument(f"Lists may be nested at most {MAX_RANK} deep in a tensor; got {rank}")
    flat: list[Any] = []
    _visit(value, 0, shape, dtype, flat)
    return shape, flat


def _visit(value: Any, level: int, shape: list[int], dtype: int, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise _format_error(
                value,
                f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}",
            )
        flat.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _visit(item, level + 1, shape, dtype, flat)


def _element(value: Any, dtype: int) -> Any:
    if isinstance(value, dict) and dtype == types_pb2.DT_STRING:
        return decode_base64(value)
    if dtype in _FLOATS:
        accepted = type(value) in (int, float)
    elif dtype in _INTEGERS:
        accepted = type(value) is int and value in _INTEGERS[dtype][1]
    elif dtype == types_pb2.DT_BOOL:
        accepted = type(value) is bool
    elif dtype == types_pb2.DT_STRING:
        accepted = type(value) is str
    elif isinstance(value, dict):
        accepted = False
    else:
        raise ServingError(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {describe(value)} to type: {data_type_name(dtype)}",
        )
    if not accepted:
        raise invalid_argument(
            f"JSON Value: {describe(value)} Type: {type_name(value)} "
            f"is not of expected type: {data_type_name(dtype)}"
        )
    return value


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: Any) -> bytes:
    """The bytes of a `{"b64": "..."}` object; padding may be left out but must be right if there."""
    if not _is_base64(value):
        raise _format_error(value, "not formatted correctly for base64 data")
    try:
        text = b"".join(value["b64"].encode("ascii").split())
        if not text.endswith(b"="):
            text += b"=" * (-len(text) % 4)
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # not ASCII, another alphabet, or wrong padding
        raise invalid_argument("Unable to base64 decode") from error


# ---- classify and regress ----------------------------------------------------------------------


def fill_examples(document: Mapping[str, Any], request: Any) -> None:
    """Puts the `examples` (and `context`) of a body into a Classification- or RegressionRequest."""
    add: Callable[[], Any] = request.input.example_list.examples.add
    if "context" in document:
        with_context = request.input.example_list_with_context
        with_context.context.CopyFrom(_example(document["context"]))
        add = with_context.examples.add
    if "examples" not in document:
        raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _format_error(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _format_error(document, "'examples' value is an empty array")
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
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not _is_base64(value)):
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
    if isinstance(value, (str, dict)):
        kind = "bytes"
    else:
        kind = "int64" if isinstance(value, bool) or is_integer(value) else "float"
    present = (feature.WhichOneof("kind") or f"{kind}_list").removesuffix("_list")
    if present != kind:
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {present}")
    if kind == "bytes":
        feature.bytes_list.value.append(decode_base64(value) if isinstance(value, dict) else _as_bytes(value))
    elif kind == "float":
        feature.float_list.value.append(float(value))
    elif value >= 2**63:
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    else:
        feature.int64_list.value.append(int(value))
