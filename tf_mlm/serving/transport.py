"""What a client needs of a protocol, and the retry rule both protocols share."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from tf_mlm.serving.client_error import ClientError
from tf_mlm.serving.errors import Code

_TRIES = 3
_FIRST_WAIT = 0.1
Answer = TypeVar("Answer")


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Type and shape of an input or output; -1 for a size, `None` for a shape, that may be anything."""

    dtype: str
    shape: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class SignatureSpec:
    """What a signature takes and gives, by alias."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class Transport(Protocol):
    """One way of asking one model."""

    def predict(self, inputs: Mapping[str, np.ndarray], signature: str) -> dict[str, np.ndarray]: ...

    def status(self) -> list[dict[str, Any]]: ...

    def metadata(self) -> dict[str, SignatureSpec]: ...

    def close(self) -> None: ...


def retry_unavailable(ask: Callable[[float], Answer], timeout: float) -> Answer:
    """Asks at most three times within the timeout, again only when the server was not available.

    Args:
        ask: is given the seconds left, and raises `ClientError`.
        timeout: seconds for all tries together.
    """
    deadline, wait = time.monotonic() + timeout, _FIRST_WAIT
    for attempt in range(1, _TRIES + 1):
        try:
            return ask(max(0.001, deadline - time.monotonic()))
        except ClientError as error:
            out_of_time = time.monotonic() + wait >= deadline
            if error.code is not Code.UNAVAILABLE or attempt == _TRIES or out_of_time:
                raise
        time.sleep(wait)
        wait *= 3
    raise AssertionError("unreachable")
