"""Asks an export through TensorFlow's C interface, as TF-Serving does; a program of its own, as it may die.

    python native_session.py [--rewrite] VERSION_DIRECTORY < QUESTIONS > ANSWERS

Rewriting graphs, as TF-Serving does, takes a hundred times as long as all the answers; without `--rewrite`
they run as they were written.

One JSON object a line: {"signature": name, "inputs": {alias: {"shape": sizes, "value": one or several}}}.
Values repeat until the shape is full. Answers are lines as well: {"code": number, "message": text,
"shapes": {alias: sizes}, "seconds": number}.

Python's session cannot ask this: it compares shapes with the placeholder's, and NumPy's arrays have
at most 64 axes (32 in TensorFlow's conversion of strings, which then dies). A stock server does neither.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tf_mlm.lean_import import import_tensorflow_alone

import_tensorflow_alone()
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_text  # noqa: E402, F401  (registers its operations, as the stock binary does)
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2  # noqa: E402

_STRING_BYTES = 24  # of a TF_TString; shorter strings than 23 bytes stand inside it, behind 4 * their size
_POINTER = ctypes.c_void_p


class _Output(ctypes.Structure):
    _fields_ = (("operation", _POINTER), ("index", ctypes.c_int))


class _Buffer(ctypes.Structure):
    _fields_ = (("data", _POINTER), ("length", ctypes.c_size_t), ("deallocator", _POINTER))


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(next(Path(tf.__file__).parent.glob("libtensorflow_cc.so*"))))
    for name in (
        "TF_NewStatus",
        "TF_NewGraph",
        "TF_NewSessionOptions",
        "TF_NewBuffer",
        "TF_NewBufferFromString",
        "TF_LoadSessionFromSavedModel",
        "TF_AllocateTensor",
        "TF_TensorData",
        "TF_GraphOperationByName",
    ):
        getattr(library, name).restype = _POINTER
    library.TF_Message.restype = ctypes.c_char_p
    library.TF_Dim.restype = ctypes.c_int64
    library.TF_AllocateTensor.argtypes = [ctypes.c_int, _POINTER, ctypes.c_int, ctypes.c_size_t]
    return library


class NativeSession:
    """An export in a session of its own; `run` takes shapes of any rank."""

    def __init__(self, directory: Path, timeout: float = 60.0, *, rewrite: bool = False) -> None:
        self._library = _library()
        self._status = _POINTER(self._library.TF_NewStatus())
        options = _POINTER(self._library.TF_NewSessionOptions())
        config = config_pb2.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = not rewrite
        written = config.SerializeToString()
        self._library.TF_SetConfig(options, written, ctypes.c_size_t(len(written)), self._status)
        self._graph = _POINTER(self._library.TF_NewGraph())
        meta_graph = _POINTER(self._library.TF_NewBuffer())
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = _POINTER(
            self._library.TF_LoadSessionFromSavedModel(
                options,
                None,
                str(directory).encode(),
                tags,
                1,
                self._graph,
                meta_graph,
                self._status,
            )
        )
        code, message = self._outcome()
        if code:
            raise RuntimeError(message)
        buffer = ctypes.cast(meta_graph, ctypes.POINTER(_Buffer)).contents
        proto = meta_graph_pb2.MetaGraphDef.FromString(ctypes.string_at(buffer.data, buffer.length))
        self.signatures = proto.signature_def
        written = config_pb2.RunOptions(timeout_in_ms=int(timeout * 1000)).SerializeToString()
        self._options = _POINTER(self._library.TF_NewBufferFromString(written, ctypes.c_size_t(len(written))))

    def _outcome(self) -> tuple[int, str]:
        code = self._library.TF_GetCode(self._status)
        return code, self._library.TF_Message(self._status).decode("utf-8", "replace")

    def _output(self, name: str) -> _Output:
        operation, index = name.split(":")
        found = self._library.TF_GraphOperationByName(self._graph, operation.encode())
        return _Output(found, int(index))

    def _tensor(self, dtype: Any, shape: list[int], value: Any) -> ctypes.c_void_p:
        elements = math.prod(shape)
        values = value if isinstance(value, list) else [value]
        if dtype == tf.string:
            words = b"".join(_tstring(text) for text in values)
            width = _STRING_BYTES * len(values)
        else:
            words = np.array(values, dtype.as_numpy_dtype).tobytes()
            width = len(words)
        size = elements * width // len(values)
        sizes = (ctypes.c_int64 * max(len(shape), 1))(*shape)
        tensor = _POINTER(self._library.TF_AllocateTensor(dtype.as_datatype_enum, sizes, len(shape), size))
        data = (words * (size // max(width, 1) + 1))[:size]
        ctypes.memmove(self._library.TF_TensorData(tensor) or 0, data, size) if size else None
        return tensor

    def run(self, signature: str, inputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """The code, message and output shapes of one call."""
        definition = self.signatures[signature]
        feeds = [
            (self._output(info.name), self._tensor(tf.as_dtype(info.dtype), **inputs[alias]))
            for alias, info in definition.inputs.items()
        ]
        aliases = sorted(definition.outputs)
        outputs = (_Output * len(aliases))(*(self._output(definition.outputs[name].name) for name in aliases))
        results = (_POINTER * len(aliases))()
        before = time.monotonic()
        self._library.TF_SessionRun(
            self._session,
            self._options,
            (_Output * len(feeds))(*(output for output, _ in feeds)),
            (_POINTER * len(feeds))(*(tensor.value for _, tensor in feeds)),
            len(feeds),
            outputs,
            results,
            len(aliases),
            None,
            0,
            None,
            self._status,
        )
        seconds = time.monotonic() - before
        code, message = self._outcome()
        shapes = {}
        for alias, result in zip(aliases, results, strict=True):
            if result:
                tensor = _POINTER(result)
                rank = self._library.TF_NumDims(tensor)
                shapes[alias] = [self._library.TF_Dim(tensor, axis) for axis in range(rank)]
                self._library.TF_DeleteTensor(tensor)
        for _, tensor in feeds:
            self._library.TF_DeleteTensor(tensor)
        return {"code": code, "message": message, "shapes": shapes, "seconds": seconds}


def _tstring(text: str) -> bytes:
    data = text.encode()
    if len(data) > _STRING_BYTES - 2:
        raise ValueError(f"Only strings of up to {_STRING_BYTES - 2} bytes fit here. Received: {text!r}.")
    return bytes([len(data) << 2]) + data.ljust(_STRING_BYTES - 1, b"\0")


def main() -> None:
    *switches, directory = sys.argv[1:]
    session = NativeSession(Path(directory), rewrite="--rewrite" in switches)
    for line in sys.stdin:
        print(json.dumps(session.run(**json.loads(line))), flush=True)
    os._exit(0)  # nothing to take down in order


if __name__ == "__main__":
    main()
