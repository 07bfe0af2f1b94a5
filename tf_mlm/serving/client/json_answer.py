"""TF-Serving's JSON as a client writes and reads it: arrays to `inputs`, `outputs` to arrays."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tf_mlm.serving.client.transport import TensorSpec

_DTYPES = {"float": "float32", "double": "float64", "string": "object", "half": "float16"}
_MESSAGE_BYTES = 2000


def to_json(array: np.ndarray) -> Any:
    """Nested lists of numbers, or of texts; strings that are no UTF-8 as `{"b64": ...}`."""
    return _map(array.tolist(), _text) if array.dtype.kind in "OS" else array.tolist()


def arrays(answer: Any, outputs: Mapping[str, TensorSpec], *, partly: bool) -> dict[str, np.ndarray]:
    """The `outputs` of an answer by alias.

    Args:
        answer: what JSON has; of a signature with one output that output alone.
        outputs: type and shape of each.
        partly: take those of `outputs` that are there, else all and no other must be.

    Raises:
        ValueError, TypeError, KeyError: for an answer of another type or shape.
    """
    if len(outputs) == 1 and not (isinstance(answer, dict) and answer.keys() & outputs.keys()):
        answer = {next(iter(outputs)): answer}
    if not isinstance(answer, dict):
        raise TypeError("its outputs are no JSON object")
    if not partly and answer.keys() != outputs.keys():
        raise KeyError(f"its outputs are {', '.join(sorted(answer))}, not {', '.join(sorted(outputs))}")
    return {alias: _array(answer[alias], alias, spec) for alias, spec in outputs.items() if alias in answer}


def error_message(status: int, content: bytes) -> str:
    """What an answer other than 200 says: TF-Serving's own words, or the status and how the body begins."""
    try:
        message = json.loads(content)["error"]
        if isinstance(message, str):
            return message
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    start = content[:_MESSAGE_BYTES].decode("utf-8", "replace")
    redirected = " (a redirection, which is not followed)" if 300 <= status < 400 else ""
    return f"HTTP status {status}{redirected}, without TF-Serving's JSON: {start or 'an empty body'}"


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    return [_map(item, change) for item in value] if isinstance(value, list) else change(value)


def _text(value: bytes | str) -> Any:
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    if not isinstance(value, str):
        raise TypeError(f"a string was expected, not {type(value).__name__}")
    return value.encode("utf-8", "surrogateescape")


def _array(value: Any, alias: str, spec: TensorSpec) -> np.ndarray:
    dtype = np.dtype(_DTYPES.get(spec.dtype, spec.dtype))
    if dtype.kind == "O":
        array = np.array(_map(value, _bytes), dtype)
        if not all(isinstance(item, bytes) for item in array.flat):
            raise ValueError(f"`{alias}` has rows of different lengths")
    else:
        array = np.array(value)
        kinds = {"f": "fiuO", "b": "b"}.get(dtype.kind, "iu")
        if array.size and array.dtype.kind not in kinds:
            raise TypeError(f"`{alias}` must be {spec.dtype}")
        # By way of Python's numbers integers out of range are an error, not another number.
        array = array.astype(dtype) if dtype.kind in "fb" or not array.size else np.array(value, dtype)
    if spec.shape is not None and array.size == 0 and array.ndim < len(spec.shape):
        # JSON cannot tell [2, 0, 10] from [2, 0].
        array = array.reshape(array.shape + (0,) * (len(spec.shape) - array.ndim))
    return array
