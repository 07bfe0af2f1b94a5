"""Memory by declaration: a few bytes that say how many there are to be."""

from __future__ import annotations

import gzip
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import inference_pb2, predict_pb2, regression_pb2

from conformance.attacks.attack import Kind
from conformance.attacks.shapes import tensor, tensors, varint
from conformance.attacks.site import PREDICT, Site
from conformance.server import model_spec

KIND = Kind("memory by declaration", models="all")
TEXT_SIGNATURES = ("", "tokenize", "encode", "pseudo_log_likelihood")


@KIND.attack("one pair of brackets too many, gRPC")
def _(site: Site) -> None:
    texts = tf.make_tensor_proto(np.full([1, 1000], b"the cat", object))
    for model in ("mlm", "mlm_xla"):
        for signature in TEXT_SIGNATURES:
            site.predict(model, {"text": tensor((1, 1000))}, signature)
            site.predict(model, {"text": texts}, signature)
        site.predict(model, {"text": tensor((1, 1000)), "targets": tensor((1, 1000))}, "score_targets")


@KIND.attack("one pair of brackets too many, REST")
def _(site: Site) -> None:
    texts = [["the cat"] * 1000]
    for signature in (*TEXT_SIGNATURES, "score_targets"):
        for key in ("instances", "inputs"):
            site.post("mlm", {"signature_name": signature, key: texts})
            site.post("mlm", {"signature_name": signature, key: [[[["a"] * 65] * 65] * 2] * 7})
        rows = [{"text": ["the cat"] * 1000, "targets": ["cat"]}]
        site.post("mlm", {"signature_name": "score_targets", "instances": rows})


@KIND.attack("one number for 2^28")
def _(site: Site) -> None:
    for size in (2**26, 2**28, 2**30, 2**33):
        site.predict("half_plus_two", {"x": tensor((size,), types_pb2.DT_FLOAT)})
        dims = {"dim": [{"size": size}]}
        for name, values in (
            ("float64", {"double_val": [1.0]}),
            ("int8", {"int_val": [1]}),
            ("bool", {"bool_val": [True]}),
            ("complex128", {"dcomplex_val": [1.0, 1.0]}),
            ("float16", {"half_val": [1]}),
            ("int64", {}),
        ):
            dtype = tf.as_dtype(name).as_datatype_enum
            proto = tensor_pb2.TensorProto(dtype=dtype, tensor_shape=dims, **values)
            site.predict("dtypes", {"x": proto}, name)


@KIND.attack("one text for 2^24")
def _(site: Site) -> None:
    for size in (2**20, 2**24, 2**28):
        site.predict("strings", {"text": tensor((size,))}, "plain")
        for signature in TEXT_SIGNATURES:
            site.predict("mlm", {"text": tensor((size,))}, signature)
        empty = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_shape={"dim": [{"size": size}]})
        site.predict("strings", {"text": empty}, "plain")


@KIND.attack("numbers of the export from one")
def _(site: Site) -> None:
    for batch, length in ((4096, 16), (1, 2**22), (2**22, 1), (2**14, 2**14)):
        shapes: dict[str, tuple[int, ...]] = {
            "token_ids": (batch, length),
            "lengths": (batch,),
            "segment_ids": (batch, length),
            "mask_positions": (batch, length),
        }
        for model in ("mlm", "mlm_xla"):
            site.predict(model, tensors(shapes), "predict_masked")
            more = {"hidden_states": (batch, length, 4), "mask_positions": (batch, length)}
            site.predict(model, tensors(more), "masked_lm_head")


@KIND.attack("candidates for no text")
def _(site: Site) -> None:
    for texts, targets in (
        ((0,), (0, 7)),
        ((1,), (0, 7)),
        ((0,), (0, 2**30)),
        ((1,), (1, 2**20)),
        ((1,), (2**20, 1)),
    ):
        for model in ("mlm", "mlm_xla"):
            site.predict(model, {"text": tensor(texts), "targets": tensor(targets)}, "score_targets")


@KIND.attack("gzip of lists, REST")
def _(site: Site) -> int:
    size = site.many(90_000_000)
    largest = 0
    for item in (b"[],", b"0,", b'"",', b"{},", b'"a",', b"[[]],"):
        body = b'{"instances": [' + item * (size // len(item)) + item.rstrip(b",") + b"]}"
        packed = gzip.compress(body, 6)
        largest = max(largest, len(body))
        for model in ("half_plus_two", "strings"):
            site.post(model, packed, headers={"Content-Encoding": "gzip"})
    return largest


@KIND.attack("plain lists, REST")
def _(site: Site) -> int:
    size = site.many(8_000_000)
    for item in (b"[],", b"0,", b'"",', b"{},", b"[[[[]]]],"):
        body = b'{"instances": [' + item * (size // len(item)) + item.rstrip(b",") + b"]}"
        for model in ("half_plus_two", "strings"):
            site.post(model, body)
    return size


@KIND.attack("compressed messages, gRPC")
def _(site: Site) -> int:
    data = b"a" * site.many(500_000_000)
    for model, signature in (("strings", "plain"), ("mlm", "tokenize")):
        proto = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING, tensor_shape={"dim": [{"size": 1}]}, string_val=[data]
        )
        site.predict(model, {"text": proto}, signature, compression=grpc.Compression.Gzip)
    return len(data)


def packed_floats(count: int) -> bytes:
    """A serialized `tf.train.Example` whose feature `x` has so many floats."""
    values = b"\x00\x00\x80\x3f" * count
    floats = b"\x0a" + varint(len(values)) + values
    feature = b"\x12" + varint(len(floats)) + floats
    entry = b"\x0a\x01x\x12" + varint(len(feature)) + feature
    features = b"\x0a" + varint(len(entry)) + entry
    return b"\x0a" + varint(len(features)) + features


@KIND.attack("examples of ten million numbers")
def _(site: Site) -> int:
    example = packed_floats(site.many(10_000_000))
    data = b"\x0a" + varint(len(example)) + example
    data = b"\x0a" + varint(len(data)) + data
    prediction = "/tensorflow.serving.PredictionService/"
    spec = regression_pb2.RegressionRequest(model_spec=model_spec("half_plus_two", "regress_x_to_y"))
    site.call(prediction + "Regress", spec.SerializeToString() + b"\x12" + varint(len(data)) + data)
    spec = regression_pb2.RegressionRequest(model_spec=model_spec("half_plus_two", "classify_x_to_y"))
    site.call(prediction + "Classify", spec.SerializeToString() + b"\x12" + varint(len(data)) + data)
    return len(example)


@KIND.attack("a million empty examples")
def _(site: Site) -> int:
    data = b"\x0a\x00" * 1_000_000
    data = b"\x0a" + varint(len(data)) + data
    spec = regression_pb2.RegressionRequest(model_spec=model_spec("examples", "vector"))
    prediction = "/tensorflow.serving.PredictionService/"
    site.call(prediction + "Regress", spec.SerializeToString() + b"\x12" + varint(len(data)) + data)
    site.post("examples", {"signature_name": "vector", "examples": [{}] * 300_000}, "regress")
    return 10 * len(data)


@KIND.attack("a context for every example")
def _(site: Site) -> int:
    # The context is put before each example: its size times theirs.
    context = packed_floats(250_000)
    data = b"\x0a\x00" * 10_000 + b"\x12" + varint(len(context)) + context
    data = b"\x12" + varint(len(data)) + data
    spec = regression_pb2.RegressionRequest(model_spec=model_spec("examples", "vector"))
    prediction = "/tensorflow.serving.PredictionService/"
    site.call(prediction + "Regress", spec.SerializeToString() + b"\x12" + varint(len(data)) + data)
    text = "a" * 1_000_000
    body: dict[str, Any] = {"signature_name": "vector", "context": {"name": text}, "examples": [{}] * 10_000}
    site.post("examples", body, "regress")
    return len(data)


@KIND.attack("a hundred thousand tasks, MultiInference")
def _(site: Site) -> int:
    spec = model_spec("half_plus_two", "regress_x_to_y")
    task = inference_pb2.InferenceTask(model_spec=spec, method_name="tensorflow/serving/regress")
    data = inference_pb2.MultiInferenceRequest(tasks=[task] * 100_000).SerializeToString()
    site.call("/tensorflow.serving.PredictionService/MultiInference", data)
    return len(data)


@KIND.attack("a million outputs asked for")
def _(site: Site) -> int:
    request = predict_pb2.PredictRequest(model_spec=model_spec("half_plus_two"))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    plain = request.SerializeToString()
    data = plain
    for names in ([b"y"] * 1_000_000, [b"%d" % n for n in range(1_000_000)]):
        data = plain + b"".join(b"\x1a" + varint(len(name)) + name for name in names)
        site.call(PREDICT, data)
    return len(data)


@KIND.attack("a hundred thousand inputs")
def _(site: Site) -> int:
    entries = b"".join(
        b"\x12" + varint(len(name) + 6) + b"\x0a" + varint(len(name)) + name + b"\x12\x02\x08\x01"
        for name in (b"input %d" % n for n in range(100_000))
    )
    spec = predict_pb2.PredictRequest(model_spec=model_spec("half_plus_two")).SerializeToString()
    site.call(PREDICT, spec + entries)
    return len(entries)


KINDS = (KIND,)
