"""What a client raises: the server's code and message, and what to do next."""

from __future__ import annotations

from typing import Any

from tf_mlm.errors import InvalidInputError, plain_words
from tf_mlm.serving.errors import Code, ServingError

_HINTS = {
    Code.UNAVAILABLE: "Check that a server listens there and is not overloaded; `tf-mlm serve` starts one.",
    Code.NOT_FOUND: "Check the model name and version in the target; `status()` lists a model's versions.",
    Code.DEADLINE_EXCEEDED: "Give the client a longer `timeout`, or send fewer rows at once.",
    Code.RESOURCE_EXHAUSTED: "Send fewer or smaller requests at once.",
    Code.INVALID_ARGUMENT: "`metadata()` shows what each signature expects.",
    Code.FAILED_PRECONDITION: "`metadata()` lists the signatures the model has.",
    Code.UNAUTHENTICATED: "The server asks for credentials this client was not given.",
    Code.UNKNOWN: "Check that a TF-Serving listens there, on the port of this protocol.",
}
_LONGEST_MESSAGE = 2000
_XLA_HINT = (
    "This server refuses XLA: ask for the signature of the same name ending in `_portable`, "
    "or start it with --xla_cpu_compilation_enabled=true."
)


class ClientError(ServingError):
    """A request that failed. With the code INVALID_ARGUMENT it is an `InvalidInputError` too.

    Attributes:
        code: the canonical code.
        message: the server's own words, on one line.
        hint: what to do next.

    Example:
        >>> from tf_mlm.serving.client.error import ClientError
        >>> from tf_mlm.serving.errors import Code
        >>> str(ClientError(Code.NOT_FOUND, "Servable not found for request: Latest(x)", "grpc://h:1/x"))[:35]
        'NOT_FOUND: Servable not found for r'
        >>> isinstance(ClientError(Code.INVALID_ARGUMENT, "x must be even", "grpc://h:1/x"), ValueError)
        True
    """

    def __new__(cls, code: Code, *_: Any, **__: Any) -> ClientError:
        is_input = cls is ClientError and code is Code.INVALID_ARGUMENT
        return super().__new__(_InvalidArgument if is_input else cls)

    def __init__(self, code: Code, message: str, target: str, *, hint: str | None = None) -> None:
        words = " ".join(plain_words(message).split())
        if len(words) > _LONGEST_MESSAGE:
            words = words[:_LONGEST_MESSAGE] + "..."
        super().__init__(code, words)
        self.target = target
        if hint is None:
            hint = _XLA_HINT if "XLA compilation disabled" in message else _HINTS.get(code, "")
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message} (from {self.target}). {self.hint}".rstrip()

    def __reduce__(self) -> Any:
        return _again, (self.code, self.message, self.target, self.hint)


class _InvalidArgument(ClientError, InvalidInputError):
    """What `ClientError` makes of INVALID_ARGUMENT."""


def _again(code: Code, message: str, target: str, hint: str) -> ClientError:
    """An error that was pickled, as process pools do with theirs."""
    return ClientError(code, message, target, hint=hint)
