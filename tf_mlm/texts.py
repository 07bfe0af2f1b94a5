"""One text or several: what counts as such, wherever texts are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from tf_mlm.errors import InvalidInputError


def as_texts(value: Any, argument: str = "text") -> tuple[np.ndarray, bool]:
    """Texts as UTF-8.

    Args:
        value: a `str` or `bytes`, a list, tuple or other iterable of them, or an array or tensor of strings.
        argument: what the caller calls it, for the error's words.

    Returns:
        The texts, an object array of `bytes` [batch], and whether it was one text that stood alone. Lone
        surrogates become invalid UTF-8, which every tokenizer drops.

    Raises:
        InvalidInputError: for anything else: numbers, None, texts nested deeper.

    Example:
        >>> from tf_mlm.texts import as_texts
        >>> as_texts(["caf\u00e9", b"bar"])
        (array([b'caf\\xc3\\xa9', b'bar'], dtype=object), False)
        >>> as_texts("alone")
        (array([b'alone'], dtype=object), True)
    """
    items, single = _items(value, argument)
    texts = np.empty(len(items), object)
    for index, item in enumerate(items):
        if isinstance(item, np.generic) or not isinstance(item, str | bytes | bytearray):
            item = _scalar(item)
        if isinstance(item, str):
            texts[index] = item.encode("utf-8", "surrogatepass")
        elif isinstance(item, bytes | bytearray):
            texts[index] = bytes(item)
        else:
            raise _refused(argument, f"{_shown(item)}{'' if single else f' at index {index}'}")
    return texts, single


def _items(value: Any, argument: str) -> tuple[list[Any], bool]:
    if isinstance(value, str | bytes | bytearray):
        return [value], True
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.ndim > 1:
            raise _refused(argument, f"shape {array.shape}")
        if array.size and array.dtype.kind not in "OSUT":
            raise _refused(argument, f"an array of {array.dtype}")
        return np.atleast_1d(array).tolist(), array.ndim == 0
    if isinstance(value, Iterable) and not isinstance(value, Mapping | Set):
        items = list(value)
        if items and all(isinstance(item, list | tuple) for item in items):
            same = len({len(item) for item in items}) == 1
            raise _refused(argument, f"shape ({len(items)}, {len(items[0]) if same else 'various'})")
        return items, False
    return [value], True


def _scalar(item: Any) -> Any:
    """A string that comes as an array or tensor of its own."""
    array = np.asarray(item) if hasattr(item, "__array__") else None
    return item if array is None or array.ndim else array.item()


def _refused(argument: str, received: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{argument}` must be one text or a batch of texts: str or bytes, or a flat list of them. "
        f"Received: {received}."
    )


def _shown(item: Any) -> str:
    text = repr(item)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(item).__name__})"
