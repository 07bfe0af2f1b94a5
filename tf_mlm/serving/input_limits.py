"""What an input may ask for before the graph sees it, whatever the model. Standard library and NumPy.

A few bytes can stand for much: a shape repeats a value a million times, a rank that no kernel was
written for ends the process, an empty tensor has another size of 2**40. TF-Serving hands all of it to
the graph. Here it is refused first, by a rule that names its flag.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mlm.serving.errors import ServingError, invalid_argument
from tf_mlm.serving.models.served_signature import ServedTensor

# TensorFlow's kernels are written for up to 8 dimensions. Beyond, some refuse, some end the process: a string
# tensor of 33 does so before any kernel, where it is copied.
MAX_RANK = 8


def _shape(sizes: Sequence[int]) -> str:
    text = ",".join(map(str, sizes[: 2 * MAX_RANK]))
    return f"[{text},...] ({len(sizes)} dimensions)" if len(sizes) > 2 * MAX_RANK else f"[{text}]"


@dataclasses.dataclass(frozen=True)
class InputLimits:
    """Limits on the inputs of one request.

    Attributes:
        max_strings: strings of all inputs together: texts, or serialized examples.
        max_expanded_elements: elements a tensor may have beyond those its bytes carry.
        max_request_bytes: bytes of all examples, each with its copy of the shared context.
    """

    max_strings: int = 10_000
    max_expanded_elements: int = 2**20
    max_request_bytes: int = 64 * 2**20

    def check_shape(self, shape: Sequence[int], carried: int) -> None:
        """Refuses a shape that asks for more than its request carries.

        Args:
            shape: sizes, none of them negative.
            carried: elements that the request's bytes hold.

        Raises:
            ServingError: INVALID_ARGUMENT.

        Example:
            >>> from tf_mlm.serving.errors import ServingError
            >>> from tf_mlm.serving.input_limits import InputLimits
            >>> try:
            ...     InputLimits().check_shape([2**28], carried=1)
            ... except ServingError as error:
            ...     print(error.code.name, error.message[:49])
            INVALID_ARGUMENT the shape [268435456] stands for 268435456 elemen
        """
        if len(shape) > MAX_RANK:
            raise invalid_argument(
                f"the shape {_shape(shape)} has {len(shape)} dimensions; a tensor may have at most {MAX_RANK}"
            )
        # An empty tensor takes no memory, but what a graph makes of its other sizes may.
        asked = math.prod(max(1, size) for size in shape)
        if asked > max(carried, self.max_expanded_elements):
            raise invalid_argument(
                f"the shape {_shape(shape)} stands for {asked} elements, of which the request carries "
                f"{carried}; at most {self.max_expanded_elements} may be asked for beyond those carried "
                "(--max_expanded_elements)"
            )

    def check_string_count(self, count: int) -> None:
        """Refuses more texts or examples than one request may hold.

        Raises:
            ServingError: INVALID_ARGUMENT.
        """
        if count > self.max_strings:
            raise invalid_argument(
                f"The request has {count} strings (texts, or examples); at most {self.max_strings} are taken "
                "at once (--max_strings_per_request). Send them in several requests"
            )

    def check_examples(self, context_bytes: int, examples: Sequence[Any]) -> None:
        """Refuses a context that, put before each of the examples, makes more than a request may hold.

        Raises:
            ServingError: INVALID_ARGUMENT.
        """
        self.check_string_count(len(examples))
        if context_bytes * len(examples) > self.max_request_bytes:
            raise invalid_argument(
                f"A context of {context_bytes} bytes before each of {len(examples)} examples makes more than "
                f"the {self.max_request_bytes} bytes of the largest request (--max_request_bytes)"
            )

    def check_feeds(self, tensors: Mapping[str, ServedTensor], feeds: Mapping[str, np.ndarray]) -> None:
        """Refuses arrays that the graph may not be able to survive.

        Sizes are not compared with the signature, nor is a smaller rank: TF-Serving computes what can be
        computed, and clients rely on it (`[1.0, 2.0]` for an input of shape `[-1, 1]`).

        Args:
            tensors: input alias to what the signature says of it.
            feeds: input alias to array.

        Raises:
            ServingError: INVALID_ARGUMENT, naming the input.
        """
        for alias, array in feeds.items():
            declared = tensors[alias].shape
            rank = MAX_RANK if declared is None else len(declared)
            if array.ndim > rank:
                known = (
                    f"any rank up to {MAX_RANK}"
                    if declared is None
                    else f"{_shape(declared)}, {rank} dimensions"
                )
                raise invalid_argument(
                    f"The input {alias} is declared with {known}; the shape {_shape(array.shape)} has "
                    f"{array.ndim}. Are there too many pairs of brackets around it?"
                )
            try:
                self.check_shape(array.shape, array.size)
            except ServingError as error:
                raise invalid_argument(f"The input {alias}: {error.message}") from error
        self.check_string_count(sum(array.size for array in feeds.values() if array.dtype.kind in "OSU"))
