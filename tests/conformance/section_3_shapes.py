"""Section 3.4: tensors of ranks and sizes that no graph can take are refused before it runs."""

from __future__ import annotations

from typing import Any

import grpc
from tensorflow.core.framework import tensor_pb2, types_pb2

from conformance.case import Needs, Section
from conformance.expectations import close, rpc_error, short
from conformance.server import Server, model_spec

shapes = Section("3.4 Shapes of inputs", Needs.SERVER)

MOST = 254  # dimensions that TensorFlow can hold
FLOATS = ("half_plus_two", "", "x", {"dtype": types_pb2.DT_FLOAT, "float_val": [1.0]})
TEXTS = ("strings", "plain", "text", {"dtype": types_pb2.DT_STRING, "string_val": [b"a"]})


def predict(server: Server, target: tuple[str, str, str, dict[str, Any]], sizes: tuple[int, ...]) -> Any:
    model, signature, alias, fields = target
    tensor = tensor_pb2.TensorProto(tensor_shape={"dim": [{"size": size} for size in sizes]}, **fields)
    return server.predict_protos(model_spec(model, signature), {alias: tensor})


def still_right(server: Server) -> None:
    close(server.predict("half_plus_two", {"x": [2.0]})["y"], [3.0], "half_plus_two of 2")


def answered_or_refused(server: Server, sizes: tuple[int, ...]) -> None:
    """What a kernel can do with a rank is its own affair; the server outlives it."""
    for target in (FLOATS, TEXTS):
        code = "OK"
        try:
            predict(server, target, sizes)
        except grpc.RpcError as error:
            code = error.code().name
        assert code in ("OK", "INVALID_ARGUMENT"), f"{target[0]} of shape {short(str(sizes), 60)}: {code}"
    still_right(server)


def refused(server: Server, sizes: tuple[int, ...]) -> None:
    for target in (FLOATS, TEXTS):
        rpc_error(lambda target=target: predict(server, target, sizes), "INVALID_ARGUMENT")  # type: ignore[misc]
    still_right(server)


shapes.each(
    {rank: ((1,) * rank,) for rank in (0, 1, 2, 8, 9, 32, 33, 64, 65, 128, 253, MOST)},
    answered_or_refused,
    "rank {}: answered or INVALID_ARGUMENT",
)
shapes.each(
    {rank: ((1,) * rank,) for rank in (MOST + 1, 256, 300, 1000)},
    refused,
    "rank {}: INVALID_ARGUMENT",
)
shapes.each(
    {
        "a negative size": ((-1,),),
        "the most negative size": ((-(2**63),),),
        "a product beyond int64": ((2**40, 2**40),),
        "a product beyond int64, then zero": ((2**62, 2**62, 0),),
        "a size of 2^63 - 1": ((2**63 - 1,),),
    },
    refused,
    "{}: INVALID_ARGUMENT",
)


def deep(server: Server, depth: int, value: str) -> None:
    for model, signature in (("half_plus_two", ""), ("strings", "plain")):
        nested = "[" * depth + value + "]" * depth
        body = f'{{"signature_name": "{signature}", "instances": {nested}}}'
        reply = server.post(f"/v1/models/{model}:predict", body)
        assert reply.status in (200, 400), f"depth {depth}: {reply.status} {reply.text[:200]}"
    still_right(server)


shapes.each(
    {depth: (depth, "1.0") for depth in (8, 9, 33, 65, 255, 1000, 20_000)},
    deep,
    "{} nested lists of a number, REST: answered or 400",
)
shapes.each(
    {depth: (depth, '"a"') for depth in (33, 65, 255, 20_000)},
    deep,
    "{} nested lists of a text, REST: answered or 400",
)

SECTIONS = (shapes,)
