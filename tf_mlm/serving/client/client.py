"""One client for both protocols: NumPy in and out, and the exported signatures by name."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tf_mlm import signatures
from tf_mlm.errors import DecoderError
from tf_mlm.fills import FillRequest
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.client.target import Target
from tf_mlm.serving.client.transport import (
    MAX_ANSWER_BYTES,
    SignatureSpec,
    TensorSpec,
    Transport,
    broken_answer,
)
from tf_mlm.serving.errors import Code
from tf_mlm.texts import as_texts

__all__ = ["Client", "ClientError"]

_DTYPES = {"float": "float32", "double": "float64", "half": "float16"}


def _connect(target: Target, timeout: float, max_answer_bytes: int) -> Transport:
    """gRPC's messages come with TensorFlow, which takes seconds to import; REST needs neither."""
    if target.scheme == "grpc":
        from tf_mlm.serving.client.grpc_transport import GrpcTransport

        return GrpcTransport(target, timeout, max_answer_bytes)
    from tf_mlm.serving.client.rest_transport import RestTransport

    return RestTransport(target, timeout, max_answer_bytes)


def _strings(texts: Any, alias: str) -> np.ndarray:
    """Strings of any nesting as an object array of UTF-8 bytes; lone surrogates as invalid UTF-8."""
    array = np.array(texts, object)
    return as_texts(array.ravel().tolist(), alias)[0].reshape(array.shape)


class Client:
    """Asks one model on one server. Safe to share between threads.

    Args:
        target: `grpc://host:port/name` or `http://host:port/name`; `/versions/3` or `/labels/stable`
            may follow the name.
        timeout: seconds a call may take in all: names, connection, every byte, repetitions. It is
            repeated, at most twice, only when the server was not available.
        max_answer_bytes: the most an answer may have; a larger one is refused while it is read.
        transport: what carries the requests; made from the target if not given.

    Raises:
        ValueError: for a target that is no such address.
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
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        transport: Transport | None = None,
    ) -> None:
        if not 0 < timeout < math.inf:
            raise ValueError(f"`timeout` must be a positive number of seconds. Received: {timeout}.")
        if max_answer_bytes < 1:
            raise ValueError(f"`max_answer_bytes` must be at least 1. Received: {max_answer_bytes}.")
        self.target = Target.parse(target)
        self._transport = transport or _connect(self.target, timeout, max_answer_bytes)
        self._signatures: dict[str, SignatureSpec] = {}

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
        arrays = {alias: self._array(alias, value, signature) for alias, value in inputs.items()}
        return self._transport.predict(arrays, signature)

    def _array(self, alias: str, value: Any, signature: str) -> np.ndarray:
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "OSU":
            return np.asarray(value)
        array = np.asarray(value)
        if array.dtype.kind in "OSU":
            return _strings(value, alias)
        if signature not in self._signatures:
            self._signatures = self.metadata()
        spec = self._signatures.get(signature)
        if spec is None or alias not in spec.inputs:
            return array
        dtype = spec.inputs[alias].dtype
        if dtype == "string":  # what is empty has no type of its own
            return array if array.size else _strings(value, alias)
        return array.astype(_DTYPES.get(dtype, dtype))

    def status(self) -> list[dict[str, Any]]:
        """Each known version: `{"version", "state", "error"}`, highest first."""
        return self._transport.status()

    def metadata(self) -> dict[str, SignatureSpec]:
        """The model's signatures by name, with the types and shapes of their inputs and outputs."""
        return self._transport.metadata()

    # ---- an exported masked language model -----------------------------------------------------

    def score(self, texts: Any) -> dict[str, np.ndarray]:
        """Pseudo-log-likelihood: `signatures.PSEUDO_LOG_LIKELIHOOD`.

        Args:
            texts: one text or several, `str` or `bytes`.

        Returns:
            `score` [batch], the sum over the `scored_tokens` [batch] that count; `token_scores` and `tokens`
            [batch, length], and `lengths` [batch].
        """
        return self._ask_texts(texts, signatures.PSEUDO_LOG_LIKELIHOOD)

    def tokenize(self, texts: Any) -> dict[str, np.ndarray]:
        """`token_ids`, `tokens`, byte offsets `starts` and `ends` [batch, length], and `lengths` [batch]."""
        return self._ask_texts(texts, signatures.TOKENIZE)

    def encode(self, texts: Any) -> np.ndarray:
        """Embeddings, float32 [batch, hidden]."""
        return self._ask_texts(texts, signatures.ENCODE)["embeddings"]

    def _ask_texts(self, texts: Any, signature: signatures.Signature) -> dict[str, np.ndarray]:
        batch = as_texts(texts, "text")[0]
        outputs = self._answer({"text": batch}, signature)
        with self._checking():
            signature.check_outputs(outputs, len(batch))
        return outputs

    def _answer(
        self, inputs: Mapping[str, np.ndarray], signature: signatures.Signature
    ) -> dict[str, np.ndarray]:
        """One request; the types of its outputs are known, so it stays one over REST too."""
        outputs = {
            alias: TensorSpec(tensor.dtype, (-1,) * len(tensor.shape))
            for alias, tensor in signature.outputs.items()
        }
        return self._transport.predict(inputs, signature.name, outputs)

    @contextlib.contextmanager
    def _checking(self) -> Iterator[None]:
        try:
            yield
        except signatures.MissingOutputsError as error:
            raise ClientError(
                Code.FAILED_PRECONDITION,
                f"{error} The model is no export of this version of tf_mlm",
                str(self.target),
                hint="Export it again with `tf-mlm export`; `predict` asks any model.",
            ) from error
        except signatures.AnswerError as error:
            raise broken_answer(str(error), self.target) from error
        except DecoderError as error:
            raise ClientError(Code.FAILED_PRECONDITION, str(error), str(self.target), hint="") from error

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
        request = FillRequest(texts, top_k, targets)
        outputs = self._answer(request.inputs, request.signature)
        with self._checking():
            return request.answer(outputs, stacklevel=3)

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
