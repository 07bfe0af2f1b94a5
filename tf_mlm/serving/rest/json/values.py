"""JSON values to arrays.

A tensor's shape comes from the data: the first element at each level. Well-formed values are
converted in bulk; anything irregular goes through an element-by-element walk, which finds the
error TF-Serving would have found first.
"""

from __future__ import annotations

import binascii
import itertools
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from tf_mlm.serving.errors import Code, ServingError, invalid_argument
from tf_mlm.serving.input_limits import MAX_RANK
from tf_mlm.serving.rest.json.debug import describe, type_name
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


def format_error(value: Any, text: str) -> ServingError:
    """What TF-Serving says of a value that is not as it must be."""
    return invalid_argument(f"JSON Value: {describe(value)} {text}")


def to_array(value: Any, dtype: int) -> np.ndarray:
    """A JSON value (scalar or nested lists) as an array of a `DataType`."""
    array = bulk(value, dtype)
    if array is None:
        shape, flat = walk(value, dtype)
        array = typed(flat, dtype).reshape(shape)
    return array


def bulk(value: Any, dtype: int) -> np.ndarray | None:
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
    return typed(flat, dtype).reshape(shape) if regular else None


def _is_regular(flat: list[Any], dtype: int) -> bool:
    types = set(map(type, flat))
    if dtype in _FLOATS:
        return types <= {int, float}
    if dtype in _INTEGERS:
        allowed = _INTEGERS[dtype][1]
        return types <= {int} and min(flat) in allowed and max(flat) in allowed
    return types <= {str} if dtype == types_pb2.DT_STRING else dtype == types_pb2.DT_BOOL and types <= {bool}


def typed(flat: list[Any], dtype: int) -> np.ndarray:
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
    return [as_bytes(value) for value in values] if dtype == types_pb2.DT_STRING else values


def as_bytes(value: Any) -> bytes:
    """A string's bytes; those of invalid UTF-8 as they came."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def walk(value: Any, dtype: int, outer: int = 0) -> tuple[list[int], list[Any]]:
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
            raise format_error(
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


def is_base64(value: Any) -> bool:
    """Whether a value stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: Any) -> bytes:
    """The bytes of a `{"b64": "..."}` object; padding may be left out but must be right if there."""
    if not is_base64(value):
        raise format_error(value, "not formatted correctly for base64 data")
    try:
        text = b"".join(value["b64"].encode("ascii").split())
        if not text.endswith(b"="):
            text += b"=" * (-len(text) % 4)
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # not ASCII, another alphabet, or wrong padding
        raise invalid_argument("Unable to base64 decode") from error
