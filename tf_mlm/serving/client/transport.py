"""What a client needs of a protocol, and what both share: the retry rule, the reading of answers."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.errors import Code

MAX_ANSWER_BYTES = 1 << 28
"""What an answer may have: three times the logits of 32 texts with 16 masks over 30,522 words."""
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
    """One way of asking one model.

    `predict` may be told the outputs that the caller counts on. It then need not ask the server for their
    types, and gives those of them that the answer has.
    """

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str,
        outputs: Mapping[str, TensorSpec] | None = None,
    ) -> dict[str, np.ndarray]: ...

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


@contextlib.contextmanager
def reading(target: object) -> Iterator[None]:
    """Whatever a broken answer makes of the code that reads it is a `ClientError`."""
    try:
        yield
    except ClientError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise broken_answer(f"{type(error).__name__}: {error}", target) from error


def broken_answer(what: str, target: object) -> ClientError:
    """An answer that is none of TF-Serving's, or not the one that was asked for."""
    return ClientError(
        Code.DATA_LOSS,
        f"The server's answer cannot be read ({what})",
        str(target),
        hint="Check that a TF-Serving of this model listens there, on the port of this protocol.",
    )
