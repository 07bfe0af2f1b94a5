"""What requests ask of a loaded model's signatures, as plain Python.

The `SignatureDef`s themselves stay out of the way of requests: at every look, Python's protobuf makes objects
that all threads share, where this is read once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from tensorflow.core.protobuf import meta_graph_pb2


@dataclasses.dataclass(frozen=True)
class ServedTensor:
    """An input or output: its name in the graph, its `DataType`, its sizes (-1 where any; None: any rank)."""

    name: str
    dtype: int
    shape: tuple[int, ...] | None

    @classmethod
    def from_proto(cls, info: Any) -> Self:
        shape = info.tensor_shape
        sizes = None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
        return cls(info.name, info.dtype, sizes)


@dataclasses.dataclass(frozen=True)
class ServedSignature:
    """A `SignatureDef`, read once, when its model is loaded.

    Attributes:
        defaults: input alias to the bytes of the `TensorProto` that stands in for a missing input.
        serialized: the whole of it, for those who ask for metadata.
    """

    method_name: str
    inputs: Mapping[str, ServedTensor]
    outputs: Mapping[str, ServedTensor]
    defaults: Mapping[str, bytes]
    serialized: bytes

    @classmethod
    def from_proto(cls, definition: Any) -> Self:
        return cls(
            method_name=definition.method_name,
            inputs={alias: ServedTensor.from_proto(info) for alias, info in definition.inputs.items()},
            outputs={alias: ServedTensor.from_proto(info) for alias, info in definition.outputs.items()},
            defaults={alias: value.SerializeToString() for alias, value in definition.defaults.items()},
            serialized=definition.SerializeToString(),
        )

    def __str__(self) -> str:
        return str(meta_graph_pb2.SignatureDef.FromString(self.serialized))
