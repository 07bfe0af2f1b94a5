"""`TensorProto` to NumPy array and back, following TensorFlow's own rules.

Protobuf's Python containers hand out one boxed number at a time. Floats and doubles, the bulk of
what a model answers, are packed little-endian on the wire, so they are copied as one block
through the wire format instead; integers are varints there and go through lists.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from tensorflow.core.framework import tensor_pb2, types_pb2

from tf_mlm.serving.errors import ServingError
from tf_mlm.serving.input_limits import InputLimits

TensorProto: Any = tensor_pb2.TensorProto

# DataType number -> (NumPy type, name of the typed field)
_TYPES: dict[int, tuple[np.dtype, str]] = {
    types_pb2.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    types_pb2.DT_DOUBLE: (np.dtype(np.float64), "double_val"),
    types_pb2.DT_INT32: (np.dtype(np.int32), "int_val"),
    types_pb2.DT_INT16: (np.dtype(np.int16), "int_val"),
    types_pb2.DT_INT8: (np.dtype(np.int8), "int_val"),
    types_pb2.DT_UINT8: (np.dtype(np.uint8), "int_val"),
    types_pb2.DT_UINT16: (np.dtype(np.uint16), "int_val"),
    types_pb2.DT_INT64: (np.dtype(np.int64), "int64_val"),
    types_pb2.DT_UINT32: (np.dtype(np.uint32), "uint32_val"),
    types_pb2.DT_UINT64: (np.dtype(np.uint64), "uint64_val"),
    types_pb2.DT_BOOL: (np.dtype(np.bool_), "bool_val"),
    types_pb2.DT_STRING: (np.dtype(object), "string_val"),
    types_pb2.DT_HALF: (np.dtype(np.float16), "half_val"),
    types_pb2.DT_BFLOAT16: (np.dtype(bfloat16), "half_val"),
    types_pb2.DT_COMPLEX64: (np.dtype(np.complex64), "scomplex_val"),
    types_pb2.DT_COMPLEX128: (np.dtype(np.complex128), "dcomplex_val"),
}
_NUMBERS = {dtype: number for number, (dtype, _) in _TYPES.items()}
# How the elements of a typed field lie in memory before they become the tensor's own type.
_FIELD_TYPES = {
    "float_val": np.float32,
    "double_val": np.float64,
    "int_val": np.int32,
    "int64_val": np.int64,
    "uint32_val": np.uint32,
    "uint64_val": np.uint64,
    "bool_val": np.bool_,
    "half_val": np.uint16,
    "scomplex_val": np.float32,
    "dcomplex_val": np.float64,
}
_FIELD_NUMBERS = {field.name: field.number for field in TensorProto.DESCRIPTOR.fields}
# Integers are boxed one by one; between blocks of them, other threads may run.
_BLOCK = 1 << 16


class TensorError(ValueError):
    """A `TensorProto` that stands for no tensor."""


def data_type(array: np.ndarray) -> int:
    """The `DataType` number of an array; byte and text strings of any width are DT_STRING."""
    if array.dtype.kind in "SUO":
        return types_pb2.DT_STRING
    return _NUMBERS[array.dtype]


def data_type_name(number: int) -> str:
    """`float`, `int32`, `string`, ... as TensorFlow writes types in messages."""
    try:
        return types_pb2.DataType.Name(number).removeprefix("DT_").lower()
    except ValueError:
        return f"unknown dtype enum ({number})"


def decode(proto: Any, limits: InputLimits = InputLimits()) -> np.ndarray:  # noqa: B008 (it is frozen)
    """The array a `TensorProto` stands for.

    `tensor_content` wins over the typed field; a typed field shorter than the shape repeats its
    last value, an empty one means zeros.

    Args:
        limits: what the shape may ask for beyond what the message carries.

    Raises:
        TensorError: for unknown types, unknown or negative dimensions, content of a wrong size, or a
            shape beyond the limits. Nothing of the tensor's size has been made by then.
    """
    if proto.dtype not in _TYPES:
        raise TensorError(f"unsupported data type {proto.dtype}")
    dtype, field = _TYPES[proto.dtype]
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise TensorError("the shape must be fully known")
    carried = _carried(proto, dtype, field)
    try:
        limits.check_shape(shape, carried)
        if field == "string_val":
            limits.check_string_count(math.prod(shape))
    except ServingError as error:
        raise TensorError(error.message) from error
    count = math.prod(shape)
    if proto.tensor_content:
        return _decode_content(proto.tensor_content, dtype, count).reshape(shape)
    if field == "string_val":
        values = np.empty(count, object)
        values[:] = _stretch_list(list(proto.string_val[:count]), count)
        return values.reshape(shape)
    values = _field_values(proto, field)
    if dtype.kind == "c":
        values = values[: values.size // 2 * 2].view(dtype)
    elif field == "half_val":
        values = values.view(dtype)
    elif values.dtype != dtype:
        values = values.astype(dtype)  # narrower integers wrap, as in TensorFlow
    if values.size >= count:
        return values[:count].reshape(shape)
    stretched = np.zeros(count, dtype)
    if values.size:
        stretched[: values.size] = values
        stretched[values.size :] = values[-1]
    return stretched.reshape(shape)


def _carried(proto: Any, dtype: np.dtype, field: str) -> int:
    """The most elements that the message's own bytes can be."""
    if proto.tensor_content:
        return len(proto.tensor_content) // (1 if dtype.kind == "O" else dtype.itemsize)
    return len(getattr(proto, field)) // (2 if dtype.kind == "c" else 1)


def _stretch_list(values: list[bytes], count: int) -> list[bytes]:
    if len(values) >= count:
        return values[:count]
    return values + [values[-1] if values else b""] * (count - len(values))


def _field_values(proto: Any, field: str) -> np.ndarray:
    values = getattr(proto, field)
    element = np.dtype(_FIELD_TYPES[field])
    if not values:
        return np.zeros(0, element)
    if element.kind == "f":
        lone = TensorProto()
        getattr(lone, field).MergeFrom(values)
        return np.frombuffer(lone.SerializeToString()[-len(values) * element.itemsize :], element)
    numbers = np.empty(len(values), np.int32 if element == np.uint16 else element)
    for start in range(0, len(values), _BLOCK):
        numbers[start : start + _BLOCK] = values[start : start + _BLOCK]
    return (numbers & 0xFFFF).astype(np.uint16) if element == np.uint16 else numbers


def _decode_content(content: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    if dtype.kind == "O":
        return _decode_string_content(content, count)
    if len(content) != count * dtype.itemsize:
        raise TensorError(f"tensor_content has {len(content)} bytes, expected {count * dtype.itemsize}")
    if dtype.kind == "b" and content.translate(None, b"\0\1"):
        raise TensorError("a boolean must be 0 or 1")
    return np.frombuffer(content, dtype)


def _decode_string_content(content: bytes, count: int) -> np.ndarray:
    """All lengths as varints, then all bytes."""
    lengths, position = [], 0
    if count > len(content):
        raise TensorError("tensor_content is too short for its number of strings")
    for _ in range(count):
        value = shift = 0
        while True:
            if position >= len(content) or shift > 63:
                raise TensorError("tensor_content ends inside a string length")
            byte = content[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(value)
    if position + sum(lengths) != len(content):
        raise TensorError("tensor_content does not hold the strings it announces")
    strings = np.empty(count, object)
    for index, length in enumerate(lengths):
        strings[index] = content[position : position + length]
        position += length
    return strings


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _as_bytes(value: bytes | str) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)


def encode(array: np.ndarray, into: Any = None, *, as_content: bool = False) -> Any:
    """An array as a `TensorProto`, written into `into` if given.

    Every element is written, as TensorFlow's `AsProtoField` does; with `as_content`, the
    little-endian bytes go into `tensor_content` instead.

    Example:
        >>> import numpy as np
        >>> from tf_mlm.serving.tensor_codec import decode, encode
        >>> list(encode(np.float32([1, 2])).float_val), decode(encode(np.int8([[3]]))).tolist()
        ([1.0, 2.0], [[3]])
    """
    proto = TensorProto() if into is None else into
    number = data_type(array)
    proto.dtype = number
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if number == types_pb2.DT_STRING:
        strings = [_as_bytes(value) for value in array.ravel().tolist()]
        if as_content:
            proto.tensor_content = b"".join([*(_varint(len(s)) for s in strings), *strings])
        else:
            proto.string_val.extend(strings)
        return proto
    if as_content:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
        return proto
    dtype, field = _TYPES[number]
    flat = np.ascontiguousarray(array).reshape(-1)
    if dtype.kind == "c":
        flat = flat.view(_FIELD_TYPES[field])
    elif field == "half_val":
        flat = flat.view(np.uint16)
    if flat.size and flat.dtype.kind == "f":
        block = flat.tobytes()
        tag = _FIELD_NUMBERS[field] << 3 | 2
        proto.MergeFromString(_varint(tag) + _varint(len(block)) + block)
    else:
        getattr(proto, field).extend(flat.tolist())
    return proto
