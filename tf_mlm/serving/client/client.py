"""One client for both protocols: NumPy in and out, and the exported signatures by name."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import numpy as np

from tf_mlm import signatures
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.questions import Questions, connect
from tf_mlm.serving.client.target import Target
from tf_mlm.serving.client.tls import PemFile, Tls
from tf_mlm.serving.client.transport import MAX_ANSWER_BYTES, Settings, SignatureSpec, Transport

__all__ = ["Client", "ClientError"]

Answer = TypeVar("Answer")


class Client:
    """Asks one model on one server. Safe to share between threads; `AsyncClient` is its twin for asyncio.

    Args:
        target: `grpc://host:port/name` or `http://host:port/name`, with TLS `grpcs://...` or `https://...`;
            `/versions/3` or `/labels/stable` may follow the name.
        timeout: seconds a call may take in all: names, connection, every byte, repetitions.
        retries: how often a call is repeated within its timeout, only when no connection could be made or
            the server said that it was not available; 0 turns it off.
        max_answer_bytes: the most an answer may have; a larger one is refused while it is read.
        root_certificates: PEM file of the authorities that may have signed the server's certificate; without
            it those that the machine (over gRPC: gRPC) trusts.
        private_key: PEM file of the client's key, for servers that ask who it is.
        certificate_chain: PEM file of its certificate and those between it and an authority.
        transport: what carries the requests; made from the target if not given.

    Raises:
        ValueError: for a target that is no such address, a number out of range, or files that are no PEM.
        OSError: for a file that cannot be read.
        ClientError: from every method, with the server's code and message and what to do next; whatever the
            server does, no other error comes of it. For INVALID_ARGUMENT it is an `InvalidInputError` too.
        InvalidInputError: from every method, for what is no text, before anything is sent.

    Example:
        >>> from tf_mlm.serving.client.client import Client
        >>> with Client(f"http://127.0.0.1:{port}/mlm") as client:
        ...     fills = client.fill("Paris is the [MASK] of France.", top_k=1)
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float = 30.0,
        retries: int = 2,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        root_certificates: PemFile | None = None,
        private_key: PemFile | None = None,
        certificate_chain: PemFile | None = None,
        transport: Transport | None = None,
    ) -> None:
        tls = Tls(root_certificates, private_key, certificate_chain)
        settings = Settings(timeout, retries, max_answer_bytes, tls)
        self.target = Target.parse(target)
        self._questions = Questions(self.target, transport or connect(self.target, settings, waits=False))

    # ---- any model -----------------------------------------------------------------------------

    def predict(
        self, inputs: Mapping[str, Any], signature: str = signatures.FILL.name
    ) -> dict[str, np.ndarray]:
        """Output alias to array, strings as bytes.

        Args:
            inputs: alias to array, or to anything NumPy makes one of; Python numbers take the type
                the signature asks for.
            signature: which of the model's signatures.
        """
        return _blocking(self._questions.predict(inputs, signature))

    def status(self) -> list[dict[str, Any]]:
        """Each known version: `{"version", "state", "error"}`, highest first."""
        return _blocking(self._questions.transport.status())

    def metadata(self) -> dict[str, SignatureSpec]:
        """The model's signatures by name, with the types and shapes of their inputs and outputs."""
        return _blocking(self._questions.transport.metadata())

    # ---- an exported masked language model -----------------------------------------------------

    def score(self, texts: Any) -> dict[str, np.ndarray]:
        """Pseudo-log-likelihood: `signatures.PSEUDO_LOG_LIKELIHOOD`.

        Args:
            texts: one text or several, `str` or `bytes`.

        Returns:
            `score` [batch], the sum over the `scored_tokens` [batch] that count; `token_scores` and `tokens`
            [batch, length], and `lengths` [batch].
        """
        return _blocking(self._questions.ask_texts(texts, signatures.PSEUDO_LOG_LIKELIHOOD))

    def tokenize(self, texts: Any) -> dict[str, np.ndarray]:
        """`token_ids`, `tokens`, byte offsets `starts` and `ends` [batch, length], and `lengths` [batch]."""
        return _blocking(self._questions.ask_texts(texts, signatures.TOKENIZE))

    def encode(self, texts: Any) -> np.ndarray:
        """Embeddings, float32 [batch, hidden]."""
        return _blocking(self._questions.ask_texts(texts, signatures.ENCODE))["embeddings"]

    def fill(self, texts: Any, top_k: int = 5, targets: Any = None) -> list[Any]:
        """The likeliest tokens for each mask, as Hugging Face's `fill-mask` pipeline gives them.

        It is one request, so all of an answer comes from one version of the model. `sequence` is put
        together from the tokens of the text that stand in the answer, so it reads as the pipeline's (lower
        case for uncased models).

        Args:
            texts: one text or several (`str` or `bytes`), each with at least one mask token.
            top_k: how many fills per mask, at most the number fixed when the model was exported.
            targets: score only these tokens. A word outside the vocabulary stands for its first token,
                and a `ReplacedTargetWarning` says so.

        Returns:
            For one text with one mask, a list of `{"score", "token", "token_str", "sequence"}`, best
            first; for several masks a list of such lists; for several texts one more list around it.

        Raises:
            InvalidInputError: for no text, no target, or a `top_k` out of range; also, then a `ClientError`
                too, for a text without a mask or with one beyond the limit.
        """
        return _blocking(self._questions.fill(texts, top_k, targets, stacklevel=5))

    def close(self) -> None:
        """Closes the connection."""
        _blocking(self._questions.transport.close())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _blocking(question: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer of a coroutine over a transport that blocks: it never suspends, and needs no event loop."""
    try:
        question.send(None)
    except StopIteration as done:
        answer: Answer = done.value
        return answer
    question.close()
    raise RuntimeError("A blocking client needs a transport that blocks.")
