"""The process dies: tensors of ranks and sizes that no model means."""

from __future__ import annotations

from typing import Any

from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from conformance.attacks.attack import Kind
from conformance.attacks.site import Site
from conformance.server import model_spec

KIND = Kind("the process dies", models="all")
RANKS = (0, 1, 2, 7, 31, 32, 33, 34, 63, 64, 65, 128, 253, 254, 255, 256, 257, 300)
TEXT_INPUTS = (("strings", "plain"), ("mlm", ""), ("mlm", "tokenize"), ("mlm_xla", ""))
# Requests that once ended a server, and their relatives: signature, input → shape.
SEEN: tuple[tuple[str, dict[str, tuple[int, ...]]], ...] = (
    ("encode", {"text": (1, 0)}),
    ("tokenize", {"text": (2, 1, 0, 1, 1)}),
    ("pseudo_log_likelihood", {"text": (0, 2**40)}),
    ("pseudo_log_likelihood", {"text": (7, 2, 65, 65)}),
    ("masked_lm_head", {"hidden_states": (1, 16, 4), "mask_positions": (5, 9)}),
    ("masked_lm_head", {"hidden_states": (0, 0, 0), "mask_positions": (0, 0)}),
    ("masked_lm_head", {"hidden_states": (2, 16, 5), "mask_positions": (2, 1)}),
    ("score_targets", {"text": (1,), "targets": (0, 7)}),
    ("score_targets", {"text": (0,), "targets": (3, 0)}),
    ("score_targets", {"text": (1, 1), "targets": (1, 1, 1)}),
    ("serving_default", {"text": (0,)}),
    ("serving_default", {"text": ()}),
    ("tokenize", {"text": (0, 0, 0)}),
    ("encode", {"text": (1, 1, 1, 1, 1, 1, 1, 1)}),
    (
        "predict_masked",
        {"token_ids": (2, 0), "lengths": (2,), "segment_ids": (2, 0), "mask_positions": (2, 3)},
    ),
    (
        "predict_masked",
        {"token_ids": (2, 8), "lengths": (3,), "segment_ids": (2, 9), "mask_positions": (1, 3)},
    ),
    (
        "predict_masked",
        {"token_ids": (1, 500), "lengths": (1,), "segment_ids": (1, 500), "mask_positions": (1, 600)},
    ),
)
DTYPES = {"hidden_states": types_pb2.DT_FLOAT, "text": types_pb2.DT_STRING, "targets": types_pb2.DT_STRING}
VALUES: dict[int, dict[str, Any]] = {
    types_pb2.DT_FLOAT: {"float_val": [0.5]},
    types_pb2.DT_STRING: {"string_val": [b"the [MASK] sat"]},
    types_pb2.DT_INT32: {"int_val": [1]},
}


def tensor(shape: tuple[int, ...], dtype: int = types_pb2.DT_STRING) -> tensor_pb2.TensorProto:
    """One value, as often as the shape says."""
    dims = {"dim": [{"size": size} for size in shape]}
    return tensor_pb2.TensorProto(dtype=dtype, tensor_shape=dims, **VALUES[dtype])


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, tensor_pb2.TensorProto]:
    return {alias: tensor(shape, DTYPES.get(alias, types_pb2.DT_INT32)) for alias, shape in shapes.items()}


@KIND.attack("texts of every rank, gRPC")
def _(site: Site) -> None:
    for rank in RANKS:
        for model, signature in TEXT_INPUTS:
            for size in (1, 0):
                site.predict(model, {"text": tensor((size,) * rank)}, signature)


@KIND.attack("numbers of every rank, gRPC")
def _(site: Site) -> None:
    for rank in RANKS:
        for size in (1, 0):
            site.predict("half_plus_two", {"x": tensor((size,) * rank, types_pb2.DT_FLOAT)})
            shapes = {"hidden_states": (size,) * rank, "mask_positions": (size,) * rank}
            site.predict("mlm", tensors(shapes), "masked_lm_head")


@KIND.attack("nested lists, REST")
def _(site: Site) -> None:
    for rank in (*RANKS[2:], 1000, 100_000):
        for value in (b'"a"', b"1.5", b"", b'{"b64": "YQ=="}'):
            nested = b"[" * rank + value + b"]" * rank
            for model, signature in (("mlm", b"tokenize"), ("strings", b"plain"), ("half_plus_two", b"")):
                for key in (b"instances", b"inputs"):
                    body = b'{"signature_name": "%s", "%s": %s}' % (signature, key, nested)
                    site.post(model, body)
        named = b'{"inputs": {"text": %s, "targets": %s}, "signature_name": "score_targets"}'
        site.post("mlm", named % (b"[" * rank + b'"a"' + b"]" * rank, b"[" * 2 + b'"a"' + b"]" * 2))


@KIND.attack("shapes on an export without XLA")
def _(site: Site) -> None:
    for signature, shapes in SEEN:
        site.predict("mlm", tensors(shapes), signature)


@KIND.attack("shapes on an export with XLA")
def _(site: Site) -> None:
    for signature, shapes in SEEN:
        for twin in ("", "_portable"):
            site.predict("mlm_xla", tensors(shapes), signature + twin)


@KIND.attack("sizes beyond any memory")
def _(site: Site) -> None:
    huge = (2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -1, -(2**63))
    for size in huge:
        for shape in ((size,), (size, size), (0, size), (size, 0), (1, size), (size, 0, size)):
            for model, signature, alias, dtype in (
                ("half_plus_two", "", "x", types_pb2.DT_FLOAT),
                ("strings", "plain", "text", types_pb2.DT_STRING),
                ("mlm", "tokenize", "text", types_pb2.DT_STRING),
                ("mlm", "pseudo_log_likelihood", "text", types_pb2.DT_STRING),
            ):
                site.predict(model, {alias: tensor(shape, dtype)}, signature)


@KIND.attack("texts where XLA gets ids out of range")
def _(site: Site) -> None:
    for ids, lengths, positions in (
        (10**9, 8, 1),
        (-7, 8, 1),
        (1, 10**9, 1),
        (1, -5, 1),
        (1, 8, 10**9),
        (1, 8, -9),
    ):
        fields = {"dtype": types_pb2.DT_INT32}
        inputs = {
            "token_ids": tensor_pb2.TensorProto(
                **fields, tensor_shape={"dim": [{"size": 2}, {"size": 8}]}, int_val=[ids]
            ),
            "lengths": tensor_pb2.TensorProto(
                **fields, tensor_shape={"dim": [{"size": 2}]}, int_val=[lengths]
            ),
            "segment_ids": tensor_pb2.TensorProto(
                **fields, tensor_shape={"dim": [{"size": 2}, {"size": 8}]}, int_val=[ids]
            ),
            "mask_positions": tensor_pb2.TensorProto(
                **fields, tensor_shape={"dim": [{"size": 2}, {"size": 1}]}, int_val=[positions]
            ),
        }
        for model, signature in (
            ("mlm", "predict_masked"),
            ("mlm_xla", "predict_masked"),
            ("mlm_xla", "predict_masked_portable"),
        ):
            site.predict(model, inputs, signature)


@KIND.attack("examples that are none")
def _(site: Site) -> None:
    prediction = "/tensorflow.serving.PredictionService/"
    for size in (0, 1, 127, 128, 255, 2**16):
        for junk in (b"\x00" * size, b"\xff" * size, b"\x0a" * size):
            # `input` is field 2 of both requests, its examples come in field 1 of field 1.
            nested = b"\x0a" + varint(len(junk)) + junk
            nested = b"\x0a" + varint(len(nested)) + nested
            for name, signature in (("Classify", "classify_x_to_y"), ("Regress", "regress_x_to_y")):
                spec = model_spec("half_plus_two", signature)
                request = (
                    classification_pb2.ClassificationRequest(model_spec=spec)
                    if name == "Classify"
                    else regression_pb2.RegressionRequest(model_spec=spec)
                )
                data = request.SerializeToString() + b"\x12" + varint(len(nested)) + nested
                site.call(prediction + name, data)
            task = inference_pb2.InferenceTask(
                model_spec=model_spec("half_plus_two", "regress_x_to_y"),
                method_name="tensorflow/serving/regress",
            )
            tasks = inference_pb2.MultiInferenceRequest(tasks=[task]).SerializeToString()
            site.call(prediction + "MultiInference", tasks + b"\x12" + varint(len(nested)) + nested)
            text = {"text": junk.decode("latin-1")}
            site.post("examples", {"examples": [{"x": [0.5] * (size % 300)}, text]}, "classify")


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number % 128 + 128)
        number //= 128
    return bytes([*encoded, number])


KINDS = (KIND,)
