"""One client for both protocols: NumPy in and out, and the exported signatures by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_mlm import signatures
from tf_mlm.serving.client_error import ClientError
from tf_mlm.serving.target import Target
from tf_mlm.serving.transport import SignatureSpec, Transport

__all__ = ["Client", "ClientError"]

_DTYPES = {"float": "float32", "double": "float64", "half": "float16"}
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
Fill = dict[str, Any]


def _connect(target: Target, timeout: float) -> Transport:
    """gRPC's messages come with TensorFlow, which takes seconds to import; REST needs neither."""
    if target.scheme == "grpc":
        from tf_mlm.serving.grpc_transport import GrpcTransport

        return GrpcTransport(target, timeout)
    from tf_mlm.serving.rest_transport import RestTransport

    return RestTransport(target, timeout)


def _strings(texts: Any) -> np.ndarray:
    """Text as an object array of UTF-8 bytes, whatever its nesting; lone surrogates as invalid UTF-8."""
    array = np.array(texts, object)
    flat = [
        text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        for text in array.ravel().tolist()
    ]
    encoded = np.empty(len(flat), object)
    encoded[:] = flat
    return encoded.reshape(array.shape)


class Client:
    """Asks one model on one server. Safe to share between threads.

    Args:
        target: `grpc://host:port/name` or `http://host:port/name`; `/versions/3` or `/labels/stable`
            may follow the name.
        timeout: seconds a request may take, repetitions included. A request is repeated, at most
            twice, only when the server was not available.
        special_tokens: the model's tokens for padding, unknown words, start, separation and mask, in this
            order; `fill` leaves them out of the text it puts together.
        transport: what carries the requests; made from the target if not given.

    Raises:
        ValueError: for a target that is no such address.
        ClientError: from every method, with the server's code and message and what to do next.

    Example:
        >>> from tf_mlm.serving.client import Client
        >>> with Client(f"http://127.0.0.1:{port}/mlm") as client:
        ...     fills = client.fill("Paris is the [MASK] of France.", top_k=1)
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float = 30.0,
        special_tokens: Sequence[str] = SPECIAL_TOKENS,
        transport: Transport | None = None,
    ) -> None:
        if timeout <= 0:
            raise ValueError(f"`timeout` must be a positive number of seconds. Received: {timeout}.")
        self.target = Target.parse(target)
        self.special_tokens = tuple(special_tokens)
        self._transport = transport or _connect(self.target, timeout)
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
            return _strings(value)
        if signature not in self._signatures:
            self._signatures = self.metadata()
        spec = self._signatures.get(signature)
        if spec is None or alias not in spec.inputs:
            return array
        dtype = spec.inputs[alias].dtype
        if dtype == "string":  # what is empty has no type of its own
            return array if array.size else _strings(value)
        return array.astype(_DTYPES.get(dtype, dtype))

    def status(self) -> list[dict[str, Any]]:
        """Each known version: `{"version", "state", "error"}`, highest first."""
        return self._transport.status()

    def metadata(self) -> dict[str, SignatureSpec]:
        """The model's signatures by name, with the types and shapes of their inputs and outputs."""
        return self._transport.metadata()

    # ---- an exported masked language model -----------------------------------------------------

    def score(self, texts: str | Sequence[str]) -> dict[str, np.ndarray]:
        """Pseudo-log-likelihood: `score` [batch], `token_scores` and `tokens` [batch, length], `lengths`."""
        return self._ask_texts(texts, signatures.PSEUDO_LOG_LIKELIHOOD)

    def tokenize(self, texts: str | Sequence[str]) -> dict[str, np.ndarray]:
        """`token_ids`, `tokens`, byte offsets `starts` and `ends` [batch, length], and `lengths` [batch]."""
        return self._ask_texts(texts, signatures.TOKENIZE)

    def encode(self, texts: str | Sequence[str]) -> np.ndarray:
        """Embeddings, float32 [batch, hidden]."""
        return self._ask_texts(texts, signatures.ENCODE)["embeddings"]

    def _ask_texts(
        self, texts: str | Sequence[str], signature: signatures.Signature
    ) -> dict[str, np.ndarray]:
        batch = [texts] if isinstance(texts, str) else list(texts)
        return self.predict({"text": _strings(batch)}, signature.name)

    def fill(
        self,
        texts: str | Sequence[str],
        top_k: int = 5,
        targets: str | Sequence[str] | None = None,
    ) -> list[Any]:
        """The likeliest tokens for each mask, as Hugging Face's `fill-mask` pipeline gives them.

        `sequence` is put together from the tokens that the `tokenize` signature returns, with
        WordPiece's own decoder, so it reads as the pipeline's (lower case for uncased models).

        Args:
            texts: one text or several, each with at least one mask token.
            top_k: how many fills per mask, at most the number fixed when the model was exported.
            targets: score only these tokens.

        Returns:
            For one text with one mask, a list of `{"score", "token", "token_str", "sequence"}`, best
            first; for several masks a list of such lists; for several texts one more list around it.

        Raises:
            ValueError: for no text, no target, or a `top_k` out of range.
        """
        batch = [texts] if isinstance(texts, str) else list(texts)
        if not batch:
            raise ValueError("At least one text is needed. Received: an empty list.")
        if top_k < 1:
            raise ValueError(f"`top_k` must be at least 1. Received: top_k={top_k}.")
        if targets is None:
            tokens, token_ids, scores = self._best(batch, top_k)
        else:
            wanted = [targets] if isinstance(targets, str) else list(targets)
            tokens, token_ids, scores = self._among(batch, wanted, top_k)
        pieces = self.tokenize(batch)
        results = [
            self._text_fills(row_pieces[:length], *fills)
            for row_pieces, length, *fills in zip(
                pieces["tokens"], pieces["lengths"], tokens, token_ids, scores, strict=True
            )
        ]
        return results[0] if isinstance(texts, str) else results

    def _best(self, batch: list[str], top_k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, ids and scores [batch, masks, top_k]."""
        found = self._ask_texts(batch, signatures.FILL)
        available = found["scores"].shape[-1]
        if top_k > available:
            raise ValueError(
                f"`top_k` must be at most {available}, the number the model was exported with. "
                f"Received: top_k={top_k}. Export it again with a larger `--top-k`."
            )
        return tuple(found[alias][..., :top_k] for alias in ("tokens", "token_ids", "scores"))  # type: ignore[return-value]

    def _among(
        self, batch: list[str], targets: list[str], top_k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `_best`, but only these tokens; a word of several pieces stands for its first."""
        if not targets:
            raise ValueError("`targets` must name at least one token. Received: an empty list.")
        inputs = {"text": _strings(batch), "targets": _strings([targets] * len(batch))}
        found = self.predict(inputs, signatures.SCORE_TARGETS.name)
        ids, columns = np.unique(found["target_ids"][0], return_index=True)
        if ids[0] < 0:
            raise ValueError(f"Every target must contain at least one token. Received: {targets!r}.")
        scores = found["scores"][..., columns]
        order = np.argsort(-scores, axis=-1, kind="stable")[..., :top_k]
        names = np.empty(len(ids), object)
        pieces = self.tokenize([targets[column] for column in columns])
        names[:] = [
            next((token for token, index in zip(*row, strict=True) if index == wanted), b"")
            for *row, wanted in zip(pieces["tokens"], pieces["token_ids"], ids, strict=True)
        ]
        return names[order], ids[order], np.take_along_axis(scores, order, -1)

    def _text_fills(
        self, pieces: np.ndarray, tokens: np.ndarray, token_ids: np.ndarray, scores: np.ndarray
    ) -> list[Any]:
        from tokenizers import decoders

        decode = decoders.WordPiece(prefix="##").decode
        text = [piece.decode("utf-8", "replace") for piece in pieces]
        positions = [index for index, piece in enumerate(text) if piece == self.special_tokens[-1]]
        # With several masks the others stay visible, and with them all special tokens.
        dropped = self.special_tokens if len(positions) == 1 else ()
        rows: list[list[Fill]] = []
        for mask, position in enumerate(positions):
            row = []
            for token, index, score in zip(tokens[mask], token_ids[mask], scores[mask], strict=True):
                word = token.decode("utf-8", "replace")
                filled = [*text[:position], word, *text[position + 1 :]]
                row.append(
                    {
                        "score": float(score),
                        "token": int(index),
                        "token_str": decode([word]),
                        "sequence": decode([piece for piece in filled if piece not in dropped]),
                    }
                )
            rows.append(row)
        return rows[0] if len(rows) == 1 else rows

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
