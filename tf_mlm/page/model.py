"""One model that the page looks at: how it is asked, what it is like, and how it is doing."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_mlm.decoder import Decoder
from tf_mlm.errors import AnswerError, InvalidInputError
from tf_mlm.serving.client.client import Client, ClientError
from tf_mlm.serving.client.json_answer import to_json
from tf_mlm.signatures import (
    FILL,
    PORTABLE,
    PREDICT_MASKED,
    PSEUDO_LOG_LIKELIHOOD,
    TOKENIZE,
    Signature,
)

_XLA_REFUSED = "XLA compilation disabled"
# A text with a mask in both spellings that are common; a model with another one names it when it refuses.
_ANY_MASK = b"[MASK] <mask>"
_MASK_RULE = re.compile(r"must contain the mask token (\S+)\. The texts")
# More columns than any model has positions: the model refuses and names its limit.
_TOO_LONG = 1 << 15
_LENGTH_RULE = re.compile(r"`token_ids` must have at most (\d+) columns")
_UNREACHABLE = "UNREACHABLE"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the page must know of a model before it asks anything.

    Attributes:
        mask_token: how a mask is spelt in a text.
        special_tokens: those that are no part of a text, the mask among them.
        most_fills: how many fills there are for a mask.
        length_limit: tokens of the longest text that is read at once, those the model adds included; None
            where the model does not say.
    """

    mask_token: str
    special_tokens: tuple[str, ...]
    most_fills: int
    length_limit: int | None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a signature answered.

    Attributes:
        outputs: alias to array.
        seconds: how long the model took, as seen from here.
        exchange: request and answer, as they would be over TF-Serving's REST interface.
    """

    outputs: Mapping[str, np.ndarray]
    seconds: float
    exchange: dict[str, Any]


class PageModel:
    """A model behind a client, asked by the threads of the page's server.

    Args:
        target: what the user named.
        client: of it.
        kind: `"directory"`, `"export"` or `"server"`.
        prober: asks a server how it does, with little patience; None for a model in this process.
    """

    def __init__(self, target: str, client: Client, kind: str, prober: Client | None = None) -> None:
        self.target, self.kind = target, kind
        self._client, self._prober = client, prober
        self._lock = threading.Lock()
        self._facts: Facts | None = None
        self._version: int | None = None
        self._suffix = ""

    def ask(self, signature: Signature, inputs: Mapping[str, np.ndarray]) -> Answer:
        """Asks a signature; where a server refuses XLA, its twin without.

        Raises:
            ClientError, InvalidInputError: as `Client.predict`.
            AnswerError: for an answer that is none of this signature.
        """
        begun = time.perf_counter()
        try:
            outputs = self._client.predict(inputs, signature.name + self._suffix)
        except ClientError as error:
            if _XLA_REFUSED not in error.message or self._suffix:
                raise
            self._suffix = PORTABLE
            outputs = self._client.predict(inputs, signature.name + self._suffix)
        seconds = time.perf_counter() - begun
        signature.check_outputs(outputs, len(next(iter(inputs.values()))))
        request = {
            "signature_name": signature.name + self._suffix,
            "inputs": {alias: to_json(array) for alias, array in inputs.items()},
        }
        response = {"outputs": {alias: to_json(array) for alias, array in outputs.items()}}
        return Answer(outputs, seconds, {"request": request, "response": response})

    def facts(self) -> Facts:
        """What the model is like, asked once per version.

        Raises:
            ClientError, AnswerError: when it cannot be asked.
        """
        with self._lock:
            if self._facts is None:
                self._facts = self._read_facts()
            return self._facts

    def warm_up(self) -> None:
        """Has a model in this process trace its graphs before somebody waits for them."""
        if self.kind == "server":
            return
        text = self.facts().mask_token.encode()
        for signature in (TOKENIZE, PSEUDO_LOG_LIKELIHOOD):
            self.ask(signature, {"text": np.array([text], object)})

    def _read_facts(self) -> Facts:
        try:
            outputs = self._fill(_ANY_MASK)
        except InvalidInputError as error:
            rule = _MASK_RULE.search(str(error))
            if rule is None:
                raise
            outputs = self._fill(rule[1].encode())
        decoder = Decoder.from_json(outputs["decoder"][0])
        return Facts(
            decoder.mask_token, decoder.special_tokens, outputs["scores"].shape[-1], self._length_limit()
        )

    def _fill(self, text: bytes) -> Mapping[str, np.ndarray]:
        return self.ask(FILL, {"text": np.array([text], object)}).outputs

    def _length_limit(self) -> int | None:
        ids = np.zeros([1, _TOO_LONG], np.int32)
        inputs = {
            "token_ids": ids,
            "lengths": np.array([1], np.int32),
            "segment_ids": ids,
            "mask_positions": np.zeros([1, 1], np.int32),
        }
        try:
            self.ask(PREDICT_MASKED, inputs)
        except (ClientError, InvalidInputError, AnswerError) as error:
            rule = _LENGTH_RULE.search(str(error))
            return int(rule[1]) if rule else None
        return None

    def describe(self) -> dict[str, Any]:
        """Name, state and addresses, and the facts as far as they are known."""
        where = self._client.target
        served = self.kind == "server"
        versions: list[dict[str, Any]] = []
        error = None
        state = "AVAILABLE"
        if self._prober is not None:
            try:
                versions = self._prober.status()
                state = _overall(versions)
                self._note_version(versions)
            except ClientError as problem:
                state, error = _UNREACHABLE, as_json(problem)
                self._note_version([])
        facts = self._facts
        return {
            "label": where.name if served else self.target.rstrip("/").rpartition("/")[2] or self.target,
            "target": self.target,
            "kind": self.kind,
            "scheme": where.scheme if served else None,
            "address": where.address if served else None,
            "name": where.name if served else "mlm",
            "pinned": _pinned(where.version, where.label),
            "state": state,
            "versions": versions,
            "error": error,
            "facts": dataclasses.asdict(facts) if facts else None,
        }

    def _note_version(self, versions: list[dict[str, Any]]) -> None:
        """Another version may be another model, and so may whatever comes back after an absence."""
        version = next((each["version"] for each in versions if each["state"] == "AVAILABLE"), None)
        if version != self._version:
            with self._lock:
                self._version, self._facts, self._suffix = version, None, ""

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        if self._prober is not None:
            self._prober.close()


def _overall(versions: list[dict[str, Any]]) -> str:
    """The state of the best version: those that are on their way out come last."""
    order = ("AVAILABLE", "LOADING", "START", "UNLOADING", "END", "UNKNOWN")
    states = [each["state"] for each in versions]
    return next((state for state in order if state in states), "UNKNOWN")


def _pinned(version: int | None, label: str | None) -> dict[str, Any] | None:
    if version is not None:
        return {"version": version}
    return {"label": label} if label is not None else None


def as_json(error: Exception) -> dict[str, str]:
    """An error as the page shows it: its code, its own words, and what to do."""
    if isinstance(error, ClientError):
        return {"code": error.code.name, "message": error.message, "hint": error.hint}
    if isinstance(error, InvalidInputError):
        return {"code": "INVALID_ARGUMENT", "message": str(error), "hint": ""}
    if isinstance(error, AnswerError):
        return {"code": "DATA_LOSS", "message": str(error), "hint": "Export the model again."}
    hint = "The terminal in which the page was started says more."
    return {"code": "INTERNAL", "message": f"{type(error).__name__}: {error}", "hint": hint}
