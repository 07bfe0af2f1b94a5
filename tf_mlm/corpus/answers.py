"""What a verb says of a text: questions to a model, and its answers as rows of output."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_mlm import signatures
from tf_mlm.errors import ConfigError, InvalidInputError, ReplacedTargetWarning
from tf_mlm.fills import FillRequest, beyond_export
from tf_mlm.serving.client.client import Client

METHODS = {"salazar": signatures.PSEUDO_LOG_LIKELIHOOD, "within-word-l2r": signatures.WITHIN_WORD}
POOLINGS = ("mean", "first", "tokens")


class Answer(NamedTuple):
    """Fields of a row of output, and how many tokens were read for it (0 where the model does not say)."""

    fields: dict[str, Any]
    tokens: int


Ask = Callable[[Sequence[str]], list[Answer]]


def scores(client: Client, texts: Sequence[str], *, method: str) -> list[Answer]:
    """Pseudo-log-likelihoods, and the tokens that count in them."""
    signature = METHODS[method]
    found = client.predict({"text": list(texts)}, signature.name)
    signature.check_outputs(found, len(texts))
    return [
        Answer({"score": float(score), "tokens": int(tokens)}, int(tokens))
        for score, tokens in zip(found["score"], found["scored_tokens"], strict=True)
    ]


def fills(client: Client, texts: Sequence[str], *, top_k: int, targets: Sequence[str] | None) -> list[Answer]:
    """For each mask of a text, the likeliest tokens."""
    request = FillRequest(list(texts), top_k, targets)
    found = client.predict(request.inputs, request.signature.name)
    available = found["scores"].shape[-1]
    if targets is None and available < top_k:
        raise ConfigError(beyond_export(top_k, available))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReplacedTargetWarning)  # each row says what was scored
        answers = request.answer(found)
    return [
        Answer({"fills": masks if isinstance(masks[0], list) else [masks]}, int(length))
        for masks, length in zip(answers, found["lengths"], strict=True)
    ]


def embeddings(client: Client, texts: Sequence[str], *, pooling: str, normalize: bool) -> list[Answer]:
    """One vector for each text, or one for each token."""
    if pooling == "mean":
        found = client.predict({"text": list(texts)}, signatures.ENCODE.name)
        signatures.ENCODE.check_outputs(found, len(texts))
        vectors = _normalized(found["embeddings"]) if normalize else found["embeddings"]
        return [Answer({"embedding": vector}, 0) for vector in vectors]
    found = client.predict({"text": list(texts)}, signatures.HIDDEN_STATES.name)
    signatures.HIDDEN_STATES.check_outputs(found, len(texts))
    states = _normalized(found["hidden_states"]) if normalize else found["hidden_states"]
    if pooling == "first":
        return [
            Answer({"embedding": row[0]}, int(length))
            for row, length in zip(states, found["lengths"], strict=True)
        ]
    return [
        Answer(
            {
                "tokens": [token.decode("utf-8", "replace") for token in tokens[:length]],
                "embeddings": row[:length],
            },
            int(length),
        )
        for row, tokens, length in zip(states, found["tokens"], found["lengths"], strict=True)
    ]


def asker(client: Client, verb: str, options: Mapping[str, Any]) -> Ask:
    """What answers texts as a verb with these options does."""
    if verb == "score":
        return lambda texts: scores(client, texts, method=options["method"])
    if verb == "fill":
        return lambda texts: fills(client, texts, top_k=options["top_k"], targets=options["targets"])
    return lambda texts: embeddings(client, texts, pooling=options["pooling"], normalize=options["normalize"])


def answers(ask: Ask, texts: Sequence[str], batch: int) -> list[Answer]:
    """The answer of each text, or what is wrong with it.

    Texts of like length share a request, which wastes little on padding. One that the model refuses costs
    only itself: its request is halved until it stands alone.

    Example:
        >>> def ask(texts):
        ...     if "" in texts:
        ...         raise InvalidInputError("No text may be empty.")
        ...     return [Answer({"size": len(text)}, 1) for text in texts]
        >>> [answer.fields for answer in answers(ask, ["abc", "", "d"], batch=8)]
        [{'size': 3}, {'error': 'No text may be empty.'}, {'size': 1}]
    """
    found: list[Answer | None] = [None] * len(texts)

    def put(chosen: list[int]) -> None:
        try:
            for index, answer in zip(chosen, ask([texts[i] for i in chosen]), strict=True):
                found[index] = answer
        except InvalidInputError as error:
            if len(chosen) == 1:
                found[chosen[0]] = Answer({"error": " ".join(str(error).split())}, 0)
                return
            middle = len(chosen) // 2
            put(chosen[:middle])
            put(chosen[middle:])

    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    for start in range(0, len(order), batch):
        put(order[start : start + batch])
    return [answer for answer in found if answer is not None]


def _normalized(vectors: np.ndarray) -> np.ndarray:
    """Of length 1 along the last axis; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: np.ndarray = vectors / np.where(lengths > 0, lengths, 1)
    return unit
