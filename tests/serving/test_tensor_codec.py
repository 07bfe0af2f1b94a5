"""TensorProto to array and back."""

from __future__ import annotations

import contextlib

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2

from tf_mlm.serving.tensor_codec import TensorError, decode, encode

ARRAYS = [
    np.float32([[1.5, -0.0], [np.inf, 3]]),
    np.float64([1 / 3]),
    np.int8([-1, 127]),
    np.int16([-300]),
    np.int32([[7]]),
    np.int64([2**62]),
    np.uint8([255]),
    np.uint16([65535]),
    np.uint32([2**32 - 1]),
    np.uint64([2**64 - 1]),
    np.array([True, False]),
    np.float16([1.5]),
    np.array([1.5, -2], ml_dtypes.bfloat16),
    np.complex64([1 + 2j, 3]),
    np.complex128([1 - 2j]),
    np.array([b"a", b"", b"x" * 200], object),
    np.zeros((0, 3), np.float32),
    np.array(3.0, np.float32),
]


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_round_trip(array: np.ndarray, as_content: bool) -> None:
    proto = encode(array, as_content=as_content)
    assert [dim.size for dim in proto.tensor_shape.dim] == list(array.shape)
    assert bool(proto.tensor_content) == (as_content and array.size > 0)
    found = decode(tensor_pb2.TensorProto.FromString(proto.SerializeToString()))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_typed_fields_are_what_tensorflow_reads(array: np.ndarray) -> None:
    np.testing.assert_array_equal(tf.make_ndarray(encode(array)), array)


def proto(dtype: int, shape: list[int] | None, **fields) -> tensor_pb2.TensorProto:
    made = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape or []:
        made.tensor_shape.dim.add(size=size)
    return made


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (proto(types_pb2.DT_FLOAT, [3], float_val=[1, 2]), [1, 2, 2]),
        (proto(types_pb2.DT_FLOAT, [2]), [0, 0]),
        (proto(types_pb2.DT_FLOAT, [1], float_val=[1, 2]), [1]),
        (proto(types_pb2.DT_FLOAT, None, float_val=[4]), 4),
        (proto(types_pb2.DT_STRING, [3], string_val=[b"a"]), [b"a"] * 3),
        (proto(types_pb2.DT_STRING, [2]), [b"", b""]),
        (proto(types_pb2.DT_INT8, [1], int_val=[257]), [1]),
        (proto(types_pb2.DT_UINT8, [1], int_val=[-1]), [255]),
        (proto(types_pb2.DT_HALF, [2], half_val=[0x3C00]), [1, 1]),
    ],
)
def test_short_and_long_fields(made: tensor_pb2.TensorProto, expected: object) -> None:
    assert decode(made).tolist() == expected


@pytest.mark.parametrize(
    "made",
    [
        proto(types_pb2.DT_INVALID, [1]),
        proto(types_pb2.DT_RESOURCE, [1]),
        proto(999, [1]),
        proto(types_pb2.DT_FLOAT, [-1]),
        proto(types_pb2.DT_FLOAT, [2], tensor_content=b"1234"),
        proto(types_pb2.DT_BOOL, [1], tensor_content=b"\2"),
        proto(types_pb2.DT_STRING, [2], tensor_content=b"\1a"),
        proto(types_pb2.DT_STRING, [1], tensor_content=b"\xff\xff"),
        proto(types_pb2.DT_FLOAT, [2**40], float_val=[1]),
        proto(types_pb2.DT_FLOAT, [1] * 65, float_val=[1]),
    ],
    ids=range(10),
)
def test_undecodable(made: tensor_pb2.TensorProto) -> None:
    with pytest.raises(TensorError):
        decode(made)


def test_unknown_rank_is_undecodable() -> None:
    made = proto(types_pb2.DT_FLOAT, None)
    made.tensor_shape.unknown_rank = True
    with pytest.raises(TensorError):
        decode(made)


@given(st.binary(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_message_decodes_or_is_refused(data: bytes) -> None:
    try:
        made = tensor_pb2.TensorProto.FromString(data)
    except DecodeError:
        return
    with contextlib.suppress(TensorError):
        decode(made)
