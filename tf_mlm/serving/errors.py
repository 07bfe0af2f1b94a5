"""The one error type of the server, and what each of its codes is called in HTTP.

A `ServingError` is raised where a rule is broken and travels unchanged to the protocol that
asked; gRPC sends its code and message, REST the HTTP status below and `{"error": message}`.
"""

from __future__ import annotations

import enum
from typing import Any

from tf_mlm.errors import TfMlmError


class Code(enum.IntEnum):
    """Canonical status codes, numbered as in gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}

_MAX_MESSAGE = 16 * 1024
DEADLINE_MESSAGE = "Timed out waiting for notification"


class ServingError(TfMlmError):
    """A request or a load that failed, with its canonical code.

    Example:
        >>> from tf_mlm.serving.errors import Code, ServingError
        >>> str(ServingError(Code.NOT_FOUND, "Servable not found for request: Latest(mlm)"))
        'NOT_FOUND: Servable not found for request: Latest(mlm)'
    """

    def __init__(self, code: Code, message: str) -> None:
        if len(message) > _MAX_MESSAGE:  # it quotes a request, of a size that a stranger has chosen
            message = message[:_MAX_MESSAGE] + "...TRUNCATED"
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    @property
    def http_status(self) -> int:
        return HTTP_STATUS.get(self.code, 500)


def invalid_argument(message: str) -> ServingError:
    """The commonest error, short to raise."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def as_serving_error(error: BaseException) -> ServingError:
    """Any exception as a `ServingError`; TensorFlow's keep their code and message.

    TensorFlow's errors are recognised by their attributes, so this module needs no TensorFlow.
    """
    if isinstance(error, ServingError):
        return error
    code: Any = getattr(error, "error_code", None)
    if isinstance(code, int) and code in Code._value2member_map_:
        return ServingError(Code(code), str(getattr(error, "message", error)))
    if isinstance(error, MemoryError):
        return ServingError(Code.RESOURCE_EXHAUSTED, "Out of memory while processing the request")
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
