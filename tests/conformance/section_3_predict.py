"""Sections 3.3 and 3.4: Predict over gRPC, check by check and dtype by dtype."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

from conformance.case import Needs, Section
from conformance.expectations import close, equal, rpc_error
from conformance.server import Server, model_spec

checks = Section("3.3 Predict", Needs.SERVER)
tensors = Section("3.4 Tensors", Needs.SERVER)

# title → model, signature, inputs, output filter, status code, parts of the text.
ERRORS: dict[str, tuple[str, str, dict[str, Any], list[str], str, tuple[str, ...]]] = {
    "signature not in the model": (
        "half_plus_two", "nothing", {"x": [2.0]}, [],
        "FAILED_PRECONDITION", ('Serving signature key "nothing" not found.',),
    ),
    "the signature is checked before the inputs": (
        "half_plus_two", "nothing", {"no": [2.0], "such": [1.0]}, ["y", "y"],
        "FAILED_PRECONDITION", ('Serving signature key "nothing" not found.',),
    ),
    "an input too many": (
        "half_plus_two", "", {"x": [2.0], "extra": [1.0]}, [],
        "INVALID_ARGUMENT",
        ("input size does not match signature: 2!=1 len({extra,x}) != len({x}). "
         "Sent extra: {extra}. Missing but required: {}.",),
    ),
    "an input too few": (
        "pair", "", {"a": [2.0]}, [],
        "INVALID_ARGUMENT",
        ("input size does not match signature: 1!=2 len({a}) != len({a,b}). "
         "Sent extra: {}. Missing but required: {b}.",),
    ),
    "no inputs": (
        "pair", "", {}, [],
        "INVALID_ARGUMENT",
        ("input size does not match signature: 0!=2 len({}) != len({a,b}). "
         "Sent extra: {}. Missing but required: {a,b}.",),
    ),
    "three inputs for one, names sorted": (
        "half_plus_two", "", {"z": [1.0], "b": [1.0], "x": [1.0]}, [],
        "INVALID_ARGUMENT",
        ("input size does not match signature: 3!=1 len({b,x,z}) != len({x}). "
         "Sent extra: {b,z}. Missing but required: {}.",),
    ),
    "the right number of inputs under a wrong name": (
        "pair", "", {"a": [2.0], "c": [1.0]}, [],
        "INVALID_ARGUMENT",
        ("Signature input alias: b(feed name: b:0) not found in request and no default value provided. "
         "Inputs expected to be in the request {",),
    ),
    "defaults do not excuse a missing input that has none": (
        "pair", "with_default", {"b": [2.0]}, [],
        "INVALID_ARGUMENT",
        ("Signature input alias: a(feed name: a:0) not found in request and no default value provided.",),
    ),
    "an unknown name beside a default": (
        "pair", "with_default", {"a": [2.0], "c": [1.0]}, [],
        "INVALID_ARGUMENT", ("Inputs contains invalid name. Used request inputs: ", "request input: "),
    ),
    "an output filter that names nothing": (
        "half_plus_two", "", {"x": [2.0]}, ["y", "nothing"],
        "INVALID_ARGUMENT",
        ("output tensor alias not found in signature: nothing Outputs expected to be in the set {y}.",),
    ),
    "an output filter that repeats a name": (
        "pair", "", {"a": [2.0], "b": [1.0]}, ["sum", "sum"],
        "INVALID_ARGUMENT", ("duplicate output tensor alias: sum",),
    ),
    "integers for floats": (
        "half_plus_two", "", {"x": np.array([2], np.int32)}, [],
        "INVALID_ARGUMENT", ("Expects arg[0] to be float but int32 is provided",),
    ),
    "strings for floats": (
        "half_plus_two", "", {"x": np.array([b"2"], object)}, [],
        "INVALID_ARGUMENT", ("Expects arg[0] to be float but string is provided",),
    ),
    "doubles for floats": (
        "half_plus_two", "", {"x": np.array([2.0], np.float64)}, [],
        "INVALID_ARGUMENT", ("Expects arg[0] to be float but double is provided",),
    ),
    "floats for strings": (
        "strings", "", {"text": [1.0]}, [],
        "INVALID_ARGUMENT", ("Expects arg[0] to be string but float is provided",),
    ),
    "shapes the graph cannot combine: the kernel's own error": (
        "pair", "", {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}, [],
        "INVALID_ARGUMENT", (),
    ),
}  # fmt: skip


def predict_error(
    server: Server,
    model: str,
    signature: str,
    inputs: dict[str, Any],
    output_filter: list[str],
    code: str,
    parts: tuple[str, ...],
) -> None:
    rpc_error(
        lambda: server.predict(model, inputs, signature=signature, output_filter=output_filter), code, *parts
    )


checks.each(ERRORS, predict_error)


@checks.case("x=2.0 in shape [1] answers 3.0, in the typed field")
def _(server: Server) -> None:
    response = server.predict_protos(
        model_spec("half_plus_two"), {"x": tf.make_tensor_proto([2.0], shape=[1])}
    )
    equal(list(response.outputs["y"].float_val), [3.0], "y.float_val")
    equal(list(response.outputs), ["y"], "outputs")


@checks.case("half_plus_three is another model")
def _(server: Server) -> None:
    close(server.predict("half_plus_three", {"x": [2.0]})["y"], [4.0])


@checks.case("shapes other than the signature's succeed if the graph can compute them")
def _(server: Server) -> None:
    close(server.predict("half_plus_two", {"x": 2.0})["y"], 3.0, "scalar")
    close(server.predict("half_plus_two", {"x": [[2.0], [4.0]]})["y"], [[3.0], [4.0]], "[2, 1]")
    close(
        server.predict("half_plus_two", {"x": [[2.0, 4.0], [6.0, 8.0]]})["y"],
        [[3.0, 4.0], [5.0, 6.0]],
        "[2, 2]",
    )
    equal(server.predict("half_plus_two", {"x": np.zeros([0, 1], np.float32)})["y"].shape, (0, 1), "[0, 1]")


@checks.case("an output filter chooses outputs; empty means all")
def _(server: Server) -> None:
    inputs = {"a": [5.0], "b": [3.0]}
    equal(set(server.predict("pair", inputs)), {"sum", "difference"}, "outputs without a filter")
    answer = server.predict("pair", inputs, output_filter=["difference"])
    equal(set(answer), {"difference"}, "outputs")
    close(answer["difference"], [2.0])
    equal(
        set(server.predict("pair", inputs, output_filter=["difference", "sum"])),
        {"sum", "difference"},
        "outputs",
    )


@checks.case("signature defaults stand in for missing inputs")
def _(server: Server) -> None:
    close(server.predict("pair", {"a": [5.0]}, signature="with_default")["sum"], [15.0], "b defaults to 10")
    close(server.predict("pair", {"a": [5.0], "b": [1.0]}, signature="with_default")["sum"], [6.0], "b given")


@checks.case("Predict runs classify and regress signatures too")
def _(server: Server) -> None:
    example = tf.train.Example(features=tf.train.Features(feature={"x": feature(2.0)})).SerializeToString()
    answer = server.predict(
        "half_plus_two", {"inputs": np.array([example], object)}, signature="regress_x_to_y"
    )
    close(answer["outputs"], [[3.0]])


def feature(value: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


@checks.case("a signature without inputs runs over gRPC")
def _(server: Server) -> None:
    close(server.predict("shapes", {}, signature="no_inputs")["y"], [1.0, 2.0])


@checks.case("TF2 exports: several signatures, inputs of unknown shape")
def _(server: Server) -> None:
    close(server.predict("scale", {"a": 4.0})["output_0"], 12.0, "serving_default")
    close(
        server.predict("scale", {"a": [[4.0]]}, signature="custom_signature_key")["output_0"],
        [[40.0]],
        "custom",
    )


@checks.case("Keras exports")
def _(server: Server) -> None:
    answer = server.predict("keras", {keras_input(server): [[1.0]]})
    close(next(iter(answer.values())), [[2.0]])


def keras_input(server: Server) -> str:
    """Keras names the input itself; the metadata says how."""
    metadata = server.get("/v1/models/keras/metadata").json["metadata"]
    return str(next(iter(metadata["signature_def"]["signature_def"]["serving_default"]["inputs"])))


@checks.case("TF-Text ops, from a version directory called 01")
def _(server: Server) -> None:
    answer = server.predict("tf_text", {"text": np.array([b"a few  words", b""], object)})
    equal(list(next(iter(answer.values()))), [b"a|few|words", b""], "joined tokens")


# ---- tensors -------------------------------------------------------------------------------------


def shape(*sizes: int) -> tensor_shape_pb2.TensorShapeProto:
    return tensor_shape_pb2.TensorShapeProto(
        dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in sizes]
    )


def proto(dtype: str, *sizes: int, **fields: Any) -> tensor_pb2.TensorProto:
    return tensor_pb2.TensorProto(dtype=types_pb2.DataType.Value(dtype), tensor_shape=shape(*sizes), **fields)


def echo(server: Server, signature: str, value: tensor_pb2.TensorProto) -> tensor_pb2.TensorProto:
    return server.predict_protos(model_spec("dtypes", signature), {"x": value}).outputs["y"]


# signature → dtype, typed field of the answer, two values that the type can hold, as the field carries them.
FIELDS: dict[str, tuple[str, str, list[Any]]] = {
    "float32": ("DT_FLOAT", "float_val", [1.5, -2.0]),
    "float64": ("DT_DOUBLE", "double_val", [1.5, -1e300]),
    "int8": ("DT_INT8", "int_val", [-128, 127]),
    "int16": ("DT_INT16", "int_val", [-32768, 32767]),
    "int32": ("DT_INT32", "int_val", [-(2**31), 2**31 - 1]),
    "int64": ("DT_INT64", "int64_val", [-(2**63), 2**63 - 1]),
    "uint8": ("DT_UINT8", "int_val", [0, 255]),
    "uint16": ("DT_UINT16", "int_val", [0, 65535]),
    "uint32": ("DT_UINT32", "uint32_val", [0, 2**32 - 1]),
    "uint64": ("DT_UINT64", "uint64_val", [0, 2**64 - 1]),
    "bool": ("DT_BOOL", "bool_val", [True, False]),
    "string": ("DT_STRING", "string_val", [b"text", b"\xff\x00"]),
    "float16": ("DT_HALF", "half_val", [0x3C00, 0xC000]),
    "bfloat16": ("DT_BFLOAT16", "half_val", [0x3F80, 0xC000]),
    "complex64": ("DT_COMPLEX64", "scomplex_val", [1.0, 2.0, 3.0, -4.0]),
    "complex128": ("DT_COMPLEX128", "dcomplex_val", [1.0, 2.0, 3.0, -4.0]),
}


def typed_echo(server: Server, signature: str) -> None:
    dtype, field, values = FIELDS[signature]
    sent = proto(dtype, 2, **{field: values})
    equal(echo(server, signature, sent), sent, f"echo of {dtype}")


for _signature, (_dtype, _field, _values) in FIELDS.items():
    tensors.add(
        f"{_signature}: in and out through {_field}",
        lambda server, signature=_signature: typed_echo(server, signature),
    )


@tensors.case("every element of an output is written out, equal ones too")
def _(server: Server) -> None:
    answer = echo(server, "float32", proto("DT_FLOAT", 2, 3, float_val=[7.0]))
    equal(answer, proto("DT_FLOAT", 2, 3, float_val=[7.0] * 6), "echo")
    equal(answer.tensor_content, b"", "tensor_content")


@tensors.case("a typed field shorter than the shape: the last value repeats")
def _(server: Server) -> None:
    equal(list(echo(server, "int32", proto("DT_INT32", 4, int_val=[1, 2])).int_val), [1, 2, 2, 2], "echo")


@tensors.case("an empty typed field: zeros and empty strings")
def _(server: Server) -> None:
    equal(list(echo(server, "int64", proto("DT_INT64", 2)).int64_val), [0, 0], "echo of int64")
    equal(list(echo(server, "string", proto("DT_STRING", 2)).string_val), [b"", b""], "echo of string")


@tensors.case("a typed field longer than the shape: the excess is ignored")
def _(server: Server) -> None:
    equal(
        list(echo(server, "float32", proto("DT_FLOAT", 2, float_val=[1, 2, 3])).float_val), [1.0, 2.0], "echo"
    )


@tensors.case("integers beyond the narrow types wrap")
def _(server: Server) -> None:
    equal(list(echo(server, "int8", proto("DT_INT8", 2, int_val=[300, -129])).int_val), [44, 127], "int8")
    equal(list(echo(server, "uint8", proto("DT_UINT8", 2, int_val=[256, -1])).int_val), [0, 255], "uint8")
    equal(list(echo(server, "int16", proto("DT_INT16", 1, int_val=[32768])).int_val), [-32768], "int16")


@tensors.case("tensor_content: little-endian rows, and it wins over the typed field")
def _(server: Server) -> None:
    content = struct.pack("<2i", 5, -6)
    sent = proto("DT_INT32", 2, tensor_content=content, int_val=[1, 1])
    equal(list(echo(server, "int32", sent).int_val), [5, -6], "echo")


@tensors.case("string tensor_content: all lengths, then all bytes")
def _(server: Server) -> None:
    sent = proto("DT_STRING", 2, tensor_content=b"\x02\x03ab\xffcd")
    equal(list(echo(server, "string", sent).string_val), [b"ab", b"\xffcd"], "echo")


@tensors.case("no tensor_shape: a scalar")
def _(server: Server) -> None:
    answer = echo(server, "float32", tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[2.5]))
    equal(answer.float_val[:], [2.5], "echo")
    equal(len(answer.tensor_shape.dim), 0, "rank")
    assert not answer.tensor_shape.unknown_rank, "the rank of the answer is known"


@tensors.case("NaN and infinities pass unchanged")
def _(server: Server) -> None:
    answer = echo(
        server, "float32", proto("DT_FLOAT", 3, float_val=[float("nan"), float("inf"), -float("inf")])
    )
    close(list(answer.float_val), [float("nan"), float("inf"), -float("inf")])


@tensors.case("an empty tensor keeps its shape")
def _(server: Server) -> None:
    equal(echo(server, "float32", proto("DT_FLOAT", 0, 3)).tensor_shape, shape(0, 3), "shape of the echo")


# title → signature, an undecodable tensor.
UNDECODABLE = {
    "tensor_content too short": ("float32", proto("DT_FLOAT", 2, tensor_content=b"\x00" * 4)),
    "tensor_content too long": ("float32", proto("DT_FLOAT", 1, tensor_content=b"\x00" * 8)),
    "a bool byte that is neither 0 nor 1": ("bool", proto("DT_BOOL", 1, tensor_content=b"\x02")),
    "string content with lengths beyond its end": (
        "string",
        proto("DT_STRING", 2, tensor_content=b"\x02\x09ab"),
    ),
    "a negative dimension": ("float32", proto("DT_FLOAT", -1, float_val=[1.0])),
    "an unknown rank": (
        "float32",
        tensor_pb2.TensorProto(
            dtype=types_pb2.DT_FLOAT, tensor_shape=tensor_shape_pb2.TensorShapeProto(unknown_rank=True)
        ),
    ),
    "DT_INVALID": ("float32", tensor_pb2.TensorProto(float_val=[1.0])),
    "an unknown dtype number": ("float32", tensor_pb2.TensorProto(dtype=999, float_val=[1.0])),
}

tensors.each(
    UNDECODABLE,
    lambda server, signature, value: rpc_error(
        lambda: echo(server, signature, value), "INVALID_ARGUMENT", "tensor parsing error: x"
    ),
    "undecodable: {}",
)

SECTIONS = (checks, tensors)
