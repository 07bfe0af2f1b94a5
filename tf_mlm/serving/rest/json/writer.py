"""Arrays and results to JSON, laid out byte for byte as TF-Serving lays it out.

Numbers of a whole tensor are formatted in one go; what is left per element is joining strings.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from tf_mlm.serving.errors import invalid_argument
from tf_mlm.serving.rest.json.debug import quote
from tf_mlm.serving.tensor_codec import data_type, data_type_name

_INDENT = "    "
# Numbers formatted at once: Python's lock is kept for so long.
_STEP = 16 * 1024
_WRITABLE_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")


def format_floats(values: np.ndarray) -> list[str]:
    """Each number in six digits, or with all of its digits if six do not read back to it.

    Args:
        values: float32 or float64 [count].

    Example:
        >>> import numpy as np
        >>> from tf_mlm.serving.rest.json.writer import format_floats
        >>> format_floats(np.float32([3, 1 / 3, 9e6, 12345678, np.nan]))
        ['3.0', '0.333333343', '9e+06', '12345678.0', 'NaN']
    """
    texts: list[str] = []
    for start in range(0, values.size, _STEP):
        texts += _format_step(values[start : start + _STEP])
    return texts


def _format_step(values: np.ndarray) -> list[str]:
    numbers = values.tolist()
    texts = ("%g " * len(numbers) % tuple(numbers)).split()
    finite = np.isfinite(values)
    with np.errstate(over="ignore"):
        read_back = np.array(list(map(float, texts)), np.float64).astype(values.dtype)
    inexact = np.flatnonzero(finite & (read_back != values))
    if inexact.size:
        digits = "%.9g " if values.dtype == np.float32 else "%.17g "
        chosen = inexact.tolist()
        exact = (digits * len(chosen) % tuple(numbers[index] for index in chosen)).split()
        for index, text in zip(chosen, exact, strict=True):
            texts[index] = text
    with np.errstate(invalid="ignore"):
        whole = np.flatnonzero(finite & (values == np.trunc(values)))
    for index in whole.tolist():
        if "e" not in texts[index] and "." not in texts[index]:
            texts[index] += ".0"
    for index in np.flatnonzero(~finite).tolist():
        number = numbers[index]
        texts[index] = "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
    return texts


def _string(value: bytes | str) -> str:
    return quote(value if isinstance(value, str) else value.decode("utf-8", "surrogateescape"))


def _format(array: np.ndarray, alias: str, depth: int) -> list[str]:
    """All elements as JSON text; `depth` is the nesting at which they stand (a b64 object spans lines)."""
    flat = array.reshape(-1)
    if flat.dtype in (np.float32, np.float64):
        return format_floats(flat)
    if flat.dtype == np.bool_:
        return ["true" if value else "false" for value in flat.tolist()]
    if flat.dtype.name in _WRITABLE_INTEGERS:
        return list(map(str, flat.tolist()))
    if flat.dtype.kind in "OSU" and alias.endswith("_bytes"):
        inside, after = "\n" + _INDENT * (depth + 1), "\n" + _INDENT * depth
        encoded = (base64.b64encode(value).decode() for value in flat.tolist())
        return [f'{{{inside}"b64": "{text}"{after}}}' for text in encoded]
    if flat.dtype.kind in "OSU":
        return [_string(value) for value in flat.tolist()]
    raise invalid_argument(f"Failed to write JSON value for tensor type: {data_type_name(data_type(flat))}")


def _fold(texts: list[str], shape: tuple[int, ...], join: Callable[[list[str], int], str]) -> list[str]:
    """Joins the elements of the innermost axis, then of the next, until the first axis is left."""
    for axis in range(len(shape) - 1, 0, -1):
        size, count = shape[axis], int(np.prod(shape[:axis]))
        if size == 0:
            texts = [join([], axis)] * count
        else:
            texts = [join(texts[start : start + size], axis) for start in range(0, len(texts), size)]
    return texts


def _joined(separator: str, items: list[str]) -> str:
    if len(items) <= _STEP:
        return separator.join(items)
    steps = range(0, len(items), _STEP)
    return separator.join([separator.join(items[start : start + _STEP]) for start in steps])


def _one_line(items: list[str], _axis: int) -> str:
    return "[" + _joined(", ", items) + "]"


def rows(outputs: Mapping[str, np.ndarray]) -> str:
    """The row form: `predictions`, one value or object per row."""
    size = -1
    for alias, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {alias} has no shape information ")
        if size >= 0 and array.shape[0] != size:
            raise invalid_argument(
                f"Tensor name: {alias} has inconsistent batch size: {array.shape[0]} expecting: {size}"
            )
        size = array.shape[0]
    several = len(outputs) > 1
    columns = [
        _fold(_format(array, alias, array.ndim + 1 + several), array.shape, _one_line)
        for alias, array in outputs.items()
    ]
    opening = '{\n    "predictions": ['
    if size == 0:
        return opening + "]\n}"
    if not several:
        return f"{opening}{_joined(', ', columns[0])}\n{_INDENT}]\n}}"
    pad, inner = "\n" + _INDENT * 2, "\n" + _INDENT * 3
    names = [_string(alias) for alias in outputs]
    items = [
        f"{pad}{{"
        + ",".join(f"{inner}{name}: {value}" for name, value in zip(names, values, strict=True))
        + f"{pad}}}"
        for values in zip(*columns, strict=True)
    ]
    return f"{opening}{_joined(',', items)}\n{_INDENT}]\n}}"


def _one_per_line(base: int) -> Callable[[list[str], int], str]:
    """Arrays with every element on its own line; `base` is the depth at which the outermost stands."""

    def join(items: list[str], axis: int) -> str:
        if not items:
            return "[]"
        inside, after = "\n" + _INDENT * (base + axis + 1), "\n" + _INDENT * (base + axis)
        return "[" + inside + _joined("," + inside, items) + after + "]"

    return join


def columns(outputs: Mapping[str, np.ndarray]) -> str:
    """The columnar form: `outputs`, the bare value or an object of values."""
    several = len(outputs) > 1
    base = 2 if several else 1
    values = {}
    for alias, array in outputs.items():
        texts = _format(array, alias, base + array.ndim)
        join = _one_per_line(base)
        values[alias] = join(_fold(texts, array.shape, join), 0) if array.ndim else texts[0]
    if not several:
        return f'{{\n    "outputs": {next(iter(values.values()))}\n}}'
    members = ",".join(f"\n{_INDENT * 2}{_string(alias)}: {value}" for alias, value in values.items())
    return f'{{\n    "outputs": {{{members}\n{_INDENT}}}\n}}'


def predictions(outputs: Mapping[str, np.ndarray], row_form: bool) -> str:
    """The response of a predict request, in the form it was asked in.

    Example:
        >>> import numpy as np
        >>> from tf_mlm.serving.rest.json.writer import predictions
        >>> print(predictions({"y": np.float32([3, 3.5])}, row_form=True))
        {
            "predictions": [3.0, 3.5
            ]
        }
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    return rows(outputs) if row_form else columns(outputs)


def classifications(result: Any) -> str:
    """`results`: for each example a list of [label, score]."""
    if not result.classifications:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    items = []
    for entry in result.classifications:
        scores = format_floats(np.array([item.score for item in entry.classes], np.float32))
        pairs = [f"[{_string(c.label)}, {score}]" for c, score in zip(entry.classes, scores, strict=True)]
        items.append(f"[{', '.join(pairs)}]")
    return f'{{\n    "results": [{", ".join(items)}\n    ]\n}}'


def regressions(result: Any) -> str:
    """`results`: one value per example."""
    if not result.regressions:
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    values = format_floats(np.array([item.value for item in result.regressions], np.float32))
    return f'{{\n    "results": [{", ".join(values)}]\n}}'


def _message(message: Any) -> str:
    return json_format.MessageToJson(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True, indent=1
    )


def status(response: Any) -> str:
    """A GetModelStatusResponse."""
    return _message(response) + "\n"


def metadata(response: Any) -> str:
    """A GetModelMetadataResponse, its signatures taken out of their `Any`."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    spec, signature_map = _message(response.model_spec), _message(signatures)
    return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {signature_map}}}\n}}\n'


def error(message: str) -> str:
    """The body of every error."""
    return f'{{\n    "error": {_string(message)}\n}}'
