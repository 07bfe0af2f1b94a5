"""What a client needs of a protocol, and what both share: settings, the reading of answers."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.tls import Tls
from tf_mlm.serving.errors import Code

MAX_ANSWER_BYTES = 1 << 28
"""What an answer may have: three times the logits of 32 texts with 16 masks over 30,522 words."""


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


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a client asks; the arguments of `Client` of the same names.

    Raises:
        ValueError: for a number that is out of range.
    """

    timeout: float = 30.0
    retries: int = 2
    max_answer_bytes: int = MAX_ANSWER_BYTES
    tls: Tls = dataclasses.field(default_factory=Tls)

    def __post_init__(self) -> None:
        if not 0 < self.timeout < math.inf:
            raise ValueError(f"`timeout` must be a positive number of seconds. Received: {self.timeout}.")
        if self.retries < 0:
            raise ValueError(f"`retries` must be at least 0. Received: {self.retries}.")
        if self.max_answer_bytes < 1:
            raise ValueError(f"`max_answer_bytes` must be at least 1. Received: {self.max_answer_bytes}.")


class Transport(Protocol):
    """One way of asking one model. In a client that blocks, its coroutines block and never suspend.

    `predict` may be told the outputs that the caller counts on. It then need not ask the server for their
    types, and gives those of them that the answer has.
    """

    async def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str,
        outputs: Mapping[str, TensorSpec] | None = None,
    ) -> dict[str, np.ndarray]: ...

    async def status(self) -> list[dict[str, Any]]: ...

    async def metadata(self) -> dict[str, SignatureSpec]: ...

    async def close(self) -> None: ...


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
