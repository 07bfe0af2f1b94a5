"""What the page asks a model, and the answers in the form in which it shows them.

Each is one look: tokens with their places in the text (bytes, as `tokenize` gives them), and what the
question adds to them. The exchanges with the model come along, to be shown as they were.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tf_mlm.decoder import Decoder
from tf_mlm.fills import FillRequest
from tf_mlm.page.model import Answer, PageModel
from tf_mlm.signatures import FILL, PSEUDO_LOG_LIKELIHOOD, TOKENIZE
from tf_mlm.texts import as_texts


def tokenize(model: PageModel, text: str) -> dict[str, Any]:
    """Pieces, ids and places of a text's tokens."""
    answer = model.ask(TOKENIZE, {"text": as_texts(text, "text")[0]})
    return {"tokens": _tokens(answer), **_exchanges(answer)}


def score(model: PageModel, text: str) -> dict[str, Any]:
    """The same with the surprise of each token, -log2 p given all others, in bits; None where none counts."""
    texts = {"text": as_texts(text, "text")[0]}
    pieces, scores = model.ask(TOKENIZE, texts), model.ask(PSEUDO_LOG_LIKELIHOOD, texts)
    tokens = _tokens(pieces)
    special = model.facts().special_tokens
    row = scores.outputs["token_scores"][0, : len(tokens["pieces"])].tolist()
    bits = [
        None if not score and piece in special else abs(score) / math.log(2)
        for piece, score in zip(tokens["pieces"], row, strict=True)
    ]
    scored = int(scores.outputs["scored_tokens"][0])
    return {"tokens": {**tokens, "bits": bits}, "scored": scored, **_exchanges(pieces, scores)}


def fill(model: PageModel, text: str, top_k: int, targets: list[str] | None) -> dict[str, Any]:
    """Fills for each mask, best first, and the tokens of the text.

    A fill has `insert`, what it adds to the text behind the token before, and `joins`, whether it does so
    without a blank, as the pieces of a word do.
    """
    request = FillRequest([text], top_k, targets)
    pieces = model.ask(TOKENIZE, {"text": request.texts})
    answer = model.ask(request.signature, request.inputs)
    if request.signature is FILL:
        request.top_k = min(request.top_k, answer.outputs["scores"].shape[-1])
    (masks,) = request.answer(answer.outputs)
    masks = masks if isinstance(masks[0], list) else [masks]
    outputs = answer.outputs
    decoder = Decoder.from_json(outputs["decoder"][0])
    known = _pieces_by_id(request, answer)
    shown = []
    for position, fills in zip(outputs["mask_positions"][0].tolist(), masks, strict=False):
        left = _text(outputs["text_tokens"][0, position - 1]) if position else ""
        shown.append({"position": position, "fills": [_shown(fill, left, known, decoder) for fill in fills]})
    return {
        "tokens": _tokens(pieces),
        "masks": shown,
        "replaced": _replaced(request, answer),
        **_exchanges(pieces, answer),
    }


def _shown(fill: dict[str, Any], left: str, pieces: dict[int, str], decoder: Decoder) -> dict[str, Any]:
    piece = pieces[fill["token"]]
    before = decoder.decode([left], skip_special_tokens=False)
    both = decoder.decode([left, piece], skip_special_tokens=False)
    added = both[len(before) :] if both.startswith(before) else fill["token_str"]
    return {
        "id": fill["token"],
        "piece": piece,
        "word": fill["token_str"],
        "score": fill["score"],
        "insert": added.strip(),
        "joins": bool(before) and not added[:1].isspace(),
    }


def _pieces_by_id(request: FillRequest, answer: Answer) -> dict[int, str]:
    ids = answer.outputs["token_ids" if request.targets is None else "target_ids"]
    tokens = answer.outputs["tokens"]
    return {int(index): _text(token) for index, token in zip(ids.flat, tokens.flat, strict=True)}


def _replaced(request: FillRequest, answer: Answer) -> dict[str, str]:
    """Targets that are not one token, and the token that is scored in their place."""
    if request.targets is None:
        return {}
    scored = answer.outputs["tokens"][0, : len(request.targets)]
    pairs = zip(request.targets.tolist(), scored.tolist(), strict=True)
    return {_text(target): _text(token) for target, token in pairs if target != token}


def _tokens(answer: Answer) -> dict[str, list[Any]]:
    """Columns, one entry per token of the one text."""
    outputs = answer.outputs
    end = int(outputs["lengths"][0])
    rows = {"ids": "token_ids", "starts": "starts", "ends": "ends"}
    return {
        "pieces": [_text(piece) for piece in outputs["tokens"][0, :end]],
        **{column: np.asarray(outputs[alias])[0, :end].tolist() for column, alias in rows.items()},
    }


def _exchanges(*answers: Answer) -> dict[str, Any]:
    return {
        "seconds": sum(answer.seconds for answer in answers),
        "exchanges": [answer.exchange for answer in answers],
    }


def _text(token: bytes) -> str:
    return token.decode("utf-8", "replace")
