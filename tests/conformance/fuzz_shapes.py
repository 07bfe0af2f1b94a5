"""Random tensors for an export of ours: every rank, sizes that fit and that do not, on every input.

A request depends on its seed and number alone, so any one can be sent again by itself.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from conformance import tiny_export
from conformance.server import model_spec
from tf_mlm.signatures import PORTABLE, SIGNATURES

MODEL = "mlm"
MOST_RANKS = 300
SMALL = (0, 1, 1, 1, 2, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33)
HUGE = (64, 65, 1000, 4097, 65_537, 2**20, 2**24 + 1, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1)
WRONG = (-1, -2, -(2**63))
MOST_VALUES = 200  # values that are written out; a shape beyond them is declared only
INTS = (-(2**31), -1000, -2, -1, 0, 0, 1, 1, 2, 3, 5, 8, 15, 16, 17, 18, 64, 10**6, 2**31 - 1)
FLOATS = (0.0, -0.0, 0.5, -1.0, 1e-45, 3e38, math.inf, -math.inf, math.nan)
TEXTS = (
    b"", b" ", b"the cat", b"the [MASK] sat on the [MASK] .", b"[MASK]", b"[MASK] " * 40, b"a" * 300,
    b"the cat sat on a mat . " * 50, b"\xff\xfe", b"\xf0\x9f\x98\x80", b"\x00", b"cat\x00dog", b"\xc3\x28",
    "e\u0301\u0301中文 ｃａｔ".encode(), b"\xed\xa0\x80", b"[CLS] [SEP] [PAD] [UNK]", b"##s ##ing", b"\n\t\r",
)  # fmt: skip
DTYPES = {"string": types_pb2.DT_STRING, "int32": types_pb2.DT_INT32, "float32": types_pb2.DT_FLOAT}
FIELDS = {
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_BOOL: "bool_val",
}
OTHER_DTYPES = (*FIELDS, types_pb2.DT_HALF, types_pb2.DT_COMPLEX64, types_pb2.DT_VARIANT, 0, 101, 999)
BY_NAME = {signature.name: signature for signature in SIGNATURES}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor as it is declared; `values` may be fewer than the shape says."""

    dtype: int
    shape: tuple[int, ...]
    values: tuple[Any, ...]
    content: bytes = b""

    def proto(self) -> tensor_pb2.TensorProto:
        proto = tensor_pb2.TensorProto(dtype=self.dtype, tensor_content=self.content)
        for size in self.shape:
            proto.tensor_shape.dim.add(size=size)
        if self.dtype in FIELDS:
            getattr(proto, FIELDS[self.dtype]).extend(self.values)
        return proto

    def nested(self) -> Any:
        """Nested lists of this shape. Large ones are cut: JSON cannot declare what it does not hold."""
        values = [json_value(value) for value in self.values] or [0]

        def build(shape: tuple[int, ...], left: int) -> Any:
            if not shape:
                return values[left % len(values)]
            size = max(0, min(shape[0], left))
            return [build(shape[1:], max(1, left // max(1, size))) for _ in range(size)]

        return build(self.shape, MOST_VALUES)


def json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value


@dataclasses.dataclass(frozen=True)
class Request:
    """One request to the export.

    Attributes:
        form: `gRPC`, or one of REST's two: `instances` and `inputs`.
    """

    number: int
    form: str
    signature: str
    inputs: Mapping[str, Tensor]
    output_filter: tuple[str, ...] = ()

    def data(self) -> bytes:
        """The gRPC message or the REST body."""
        if self.form == "gRPC":
            request = predict_pb2.PredictRequest(
                model_spec=model_spec(MODEL, self.signature), output_filter=self.output_filter
            )
            for alias, tensor in self.inputs.items():
                request.inputs[alias].CopyFrom(tensor.proto())
            return request.SerializeToString()
        columns = {alias: tensor.nested() for alias, tensor in self.inputs.items()}
        values: Any = columns
        if self.form == "instances":
            rows = max((len(column) for column in columns.values() if isinstance(column, list)), default=0)
            values = [
                {
                    alias: column[row % len(column)] if isinstance(column, list) and column else column
                    for alias, column in columns.items()
                }
                for row in range(rows)
            ]
        return json.dumps({"signature_name": self.signature, self.form: values}).encode()

    def __str__(self) -> str:
        inputs = ", ".join(
            f"{alias}: dtype {tensor.dtype} {list(tensor.shape)[:12]}{'…' * (len(tensor.shape) > 12)} "
            f"{str(tensor.values[:4])[:120]}"
            for alias, tensor in self.inputs.items()
        )
        return f"request {self.number}, {self.form}, {self.signature or 'serving_default'}: {inputs}"


def request(seed: int, number: int, xla: bool) -> Request:
    """The request of this number.

    Args:
        xla: the export has twins without XLA, which are asked, too.

    Example:
        >>> from conformance.fuzz_shapes import request
        >>> request(0, 7, False) == request(0, 7, False), request(0, 7, False) == request(1, 7, False)
        (True, False)
    """
    rng = random.Random(f"{seed} {number}")
    signature = rng.choice(SIGNATURES)
    name = signature.name + (PORTABLE if xla and rng.random() < 0.4 else "")
    # Axes of one name have one size where a request is to be nearly right.
    axes = {axis: rng.choice(SMALL) for axis in ("batch", "length", "masks", "candidates")}
    axes["hidden"] = tiny_export.HIDDEN
    plan = rng.choice(("right", "right", "near", "sizes", "rank", "rank", "wild"))
    inputs = {}
    for alias, spec in signature.inputs.items():
        right = tuple(axes[axis] for axis in spec.shape)
        inputs[alias] = tensor(rng, plan, DTYPES[spec.dtype], right)
    if rng.random() < 0.03 and inputs:
        inputs.pop(rng.choice(list(inputs)))
    if rng.random() < 0.03:
        inputs["more"] = tensor(rng, plan, types_pb2.DT_FLOAT, (1,))
    form = rng.choice(("gRPC", "gRPC", "gRPC", "instances", "inputs"))
    outputs = list(signature.outputs)
    chosen = tuple(rng.sample(outputs, rng.randint(1, len(outputs)))) if rng.random() < 0.1 else ()
    return Request(number, form, name, inputs, chosen if form == "gRPC" else ())


def tensor(rng: random.Random, plan: str, dtype: int, right: tuple[int, ...]) -> Tensor:
    shape = right
    if plan == "near" and right:
        at = rng.randrange(len(right))
        shape = (*right[:at], rng.choice(SMALL), *right[at + 1 :])
    elif plan == "sizes":
        shape = tuple(rng.choice((rng.choice(SMALL), rng.choice(HUGE))) for _ in right)
    elif plan == "rank":
        shape = of_rank(rng, rng.choice((rng.randint(0, 6), rng.randint(0, 40), rng.randint(0, MOST_RANKS))))
    elif plan == "wild":
        shape = tuple(rng.choice((*SMALL, *HUGE, *WRONG)) for _ in range(rng.randint(0, 6)))
    if rng.random() < 0.06:
        dtype = rng.choice(OTHER_DTYPES)
    count = math.prod(shape) if all(0 <= size < 2**31 for size in shape) else 2**31
    if count > MOST_VALUES or rng.random() < 0.2:
        count = rng.choice((0, 1, 1, 1, 2, 7))
    values = tuple(value_of(rng, dtype, fits=plan == "right") for _ in range(count))
    content = b""
    if dtype in (types_pb2.DT_INT32, types_pb2.DT_FLOAT) and rng.random() < 0.1:
        kind = np.int32 if dtype == types_pb2.DT_INT32 else np.float32
        content = np.asarray(values, kind).tobytes()[: rng.choice((10**9, 10**9, 3))]
    return Tensor(dtype, shape, values, content)


def of_rank(rng: random.Random, rank: int) -> tuple[int, ...]:
    """Mostly ones, so that tensors of hundreds of dimensions have few elements."""
    sizes = [1] * rank
    for _ in range(rng.randint(0, 3)):
        if rank:
            sizes[rng.randrange(rank)] = rng.choice(SMALL)
    return tuple(sizes)


def value_of(rng: random.Random, dtype: int, fits: bool) -> Any:
    if dtype == types_pb2.DT_STRING:
        return rng.choice(TEXTS)
    if dtype in (types_pb2.DT_INT32, types_pb2.DT_INT64):
        return rng.randint(0, 15) if fits and rng.random() < 0.95 else rng.choice(INTS)
    if dtype in (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE):
        return rng.uniform(-1, 1) if fits else rng.choice(FLOATS)
    return True


def smaller(request: Request) -> list[Request]:
    """Requests that say less, from which a reproducer may be made: fewer dimensions, sizes and values."""
    fewer = []
    for alias, each in request.inputs.items():
        changes: list[Tensor] = []
        if len(each.shape) > 8:
            changes += [
                dataclasses.replace(each, shape=each.shape[:end]) for end in (len(each.shape) // 2, -1)
            ]
        else:
            for at, size in enumerate(each.shape):
                changes.append(dataclasses.replace(each, shape=(*each.shape[:at], *each.shape[at + 1 :])))
                if size > 1:
                    shape = (*each.shape[:at], 1, *each.shape[at + 1 :])
                    changes.append(dataclasses.replace(each, shape=shape))
        if len(each.values) > 1:
            changes.append(dataclasses.replace(each, values=each.values[:1]))
        if each.content:
            changes.append(dataclasses.replace(each, content=b""))
        fewer += [
            dataclasses.replace(request, inputs={**request.inputs, alias: change}) for change in changes
        ]
    return fewer
