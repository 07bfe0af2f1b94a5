"""The inputs of several requests joined along dim 0, padded as TF-Serving pads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tf_mlm.serving.errors import Code, ServingError, invalid_argument

Feeds = Mapping[str, np.ndarray]


def precondition(message: str) -> ServingError:
    """Requests that cannot be put together, or an answer that cannot be taken apart."""
    return ServingError(Code.FAILED_PRECONDITION, message)


def task_size(feeds: Feeds) -> int:
    """Rows of a request: dim 0, which its inputs must share."""
    if not feeds:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in feeds.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    sizes = {array.shape[0] for array in feeds.values()}
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def merge(name: str, arrays: Sequence[np.ndarray], pad_lengths: bool, extra_rows: int) -> np.ndarray:
    """One input of all tasks, joined along dim 0, with `extra_rows` copies of a row at the end.

    Raises:
        ServingError: FAILED_PRECONDITION when other dims differ and lengths are not padded.
    """
    if len({array.shape[1:] for array in arrays}) > 1:
        if not pad_lengths:
            raise precondition(
                f"Tensors with name '{name}' from different tasks have different shapes and padding is "
                "turned off. Set pad_variable_length_inputs to true, or ensure that all tensors with the "
                "same name have equal dimensions starting with the first dim."
            )
        arrays = _pad_lengths(arrays)
    if extra_rows:
        arrays = [*arrays, np.repeat(arrays[-1][:1], extra_rows, axis=0)]
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _pad_lengths(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    ranks = {array.ndim for array in arrays}
    if len(ranks) > 1 or not 1 <= max(ranks) <= 6:
        raise invalid_argument("Only tensors with rank from 1 to 6 can be padded.")
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    padded = []
    for array in arrays:
        missing = [(0, int(size) - have) for size, have in zip(shape, array.shape[1:], strict=True)]
        if any(after for _, after in missing):
            if array.size == 0:
                raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
            array = np.pad(array, [(0, 0), *missing], constant_values=array.flat[0])
        padded.append(array)
    return padded
