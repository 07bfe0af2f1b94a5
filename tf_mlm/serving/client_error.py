"""What a client raises: the server's code and message, and what to do next."""

from __future__ import annotations

from tf_mlm.serving.errors import Code, ServingError

_HINTS = {
    Code.UNAVAILABLE: "Check that a server listens there and is not overloaded; `tf-mlm serve` starts one.",
    Code.NOT_FOUND: "Check the model name and version in the target; `status()` lists a model's versions.",
    Code.DEADLINE_EXCEEDED: "Give the client a longer `timeout`, or send fewer rows at once.",
    Code.RESOURCE_EXHAUSTED: "Send fewer or smaller requests at once.",
    Code.INVALID_ARGUMENT: "`metadata()` shows what each signature expects.",
    Code.FAILED_PRECONDITION: "`metadata()` lists the signatures the model has.",
    Code.UNAUTHENTICATED: "The server asks for credentials this client was not given.",
}
_XLA_HINT = (
    "This server refuses XLA: ask for the signature of the same name ending in `_portable`, "
    "or start it with --xla_cpu_compilation_enabled=true."
)


class ClientError(ServingError):
    """A request that failed.

    Attributes:
        code: the canonical code.
        message: the server's own words.
        hint: what to do next.

    Example:
        >>> from tf_mlm.serving.client_error import ClientError
        >>> from tf_mlm.serving.errors import Code
        >>> str(ClientError(Code.NOT_FOUND, "Servable not found for request: Latest(x)", "grpc://h:1/x"))[:35]
        'NOT_FOUND: Servable not found for r'
    """

    def __init__(self, code: Code, message: str, target: str) -> None:
        super().__init__(code, message)
        self.target = target
        self.hint = _XLA_HINT if "XLA compilation disabled" in message else _HINTS.get(code, "")

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message} (from {self.target}). {self.hint}".rstrip()
