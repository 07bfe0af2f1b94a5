"""Filling masks, wherever the model runs: which signature is asked what, and its outputs read as fills.

`FillMask` asks the graph in its own process, `Client` a server: both put a `FillRequest` to it, once, and
let it read the answer. So the same question has the same answer everywhere, down to the last blank.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_mlm.decoder import Decoder
from tf_mlm.errors import AnswerError, InvalidInputError, ReplacedTargetWarning
from tf_mlm.signatures import FILL, SCORE_TARGETS, Signature
from tf_mlm.texts import as_texts

Fill = dict[str, Any]
Outputs = Mapping[str, np.ndarray]


def beyond_export(top_k: int, available: int) -> str:
    """What to say of a `top_k` beyond the fills that an export gives."""
    return (
        f"`top_k` must be at most {available}, the number the model was exported with. Received: "
        f"top_k={top_k}. Export it again with a larger `--top-k`."
    )


class FillRequest:
    """One question for fills, checked.

    Args:
        text: one text or several, each with at least one mask token.
        top_k: how many fills per mask; with `targets`, at most their number.
        targets: score only these tokens.

    Raises:
        InvalidInputError: for what is no text, for no text or no target, or a `top_k` below 1.

    Example:
        >>> from tf_mlm.fills import FillRequest
        >>> request = FillRequest("the [MASK] sat", targets=["cat", "dog"])
        >>> request.signature.name, request.inputs["targets"].tolist()
        ('score_targets', [[b'cat', b'dog']])
    """

    def __init__(self, text: Any, top_k: int = 5, targets: Any = None) -> None:
        self.texts, self._is_single = as_texts(text, "text")
        if not self.texts.size:
            raise InvalidInputError("At least one text is needed. Received: an empty list.")
        self.top_k = _whole(top_k)
        self.targets = None if targets is None else as_texts(targets, "targets")[0]
        if self.targets is not None and not self.targets.size:
            raise InvalidInputError("`targets` must name at least one token. Received: an empty list.")

    @property
    def signature(self) -> Signature:
        """Which signature answers it."""
        return FILL if self.targets is None else SCORE_TARGETS

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The signature's inputs."""
        if self.targets is None:
            return {"text": self.texts}
        return {"text": self.texts, "targets": np.tile(self.targets, [len(self.texts), 1])}

    def answer(self, outputs: Outputs, *, stacklevel: int = 2) -> list[Any]:
        """The fills, as Hugging Face's `fill-mask` pipeline gives them.

        Args:
            outputs: those of the signature, strings as `bytes`.
            stacklevel: whose line a warning names, as in `warnings.warn`: 2 for the caller's.

        Returns:
            For one text with one mask, a list of `{"score", "token", "token_str", "sequence"}`, best
            first; for several masks a list of such lists; for a list of texts one more list around it.

        Raises:
            InvalidInputError: for a `top_k` beyond what the model was exported with.
            AnswerError: for outputs that are no answer to this question.
            DecoderError: for tokens of a kind that this version cannot read.
        """
        self.signature.check_outputs(outputs, len(self.texts))
        _check_places(outputs)
        tokens, token_ids, scores = self._ranked(outputs, stacklevel + 1)
        decoders = {text: Decoder.from_json(text) for text in set(outputs["decoder"].tolist())}
        results = []
        for row, positions in enumerate(outputs["mask_positions"]):
            text_tokens = _decoded(outputs["text_tokens"][row, : outputs["lengths"][row]])
            masks = _text_fills(
                decoders[outputs["decoder"][row]],
                text_tokens,
                positions[positions >= 0].tolist(),
                [_decoded(mask) for mask in tokens[row]],
                token_ids[row].tolist(),
                scores[row].tolist(),
            )
            results.append(masks[0] if len(masks) == 1 else masks)
        return results[0] if self._is_single else results

    def _ranked(self, outputs: Outputs, stacklevel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, ids and scores [batch, masks, top_k], best first."""
        if self.targets is None:
            available = outputs["scores"].shape[-1]
            if self.top_k > available:
                raise InvalidInputError(beyond_export(self.top_k, available))
            tokens, ids, scores = (
                outputs[alias][..., : self.top_k] for alias in ("tokens", "token_ids", "scores")
            )
            return tokens, ids, scores
        # A server that merges requests may have padded the candidates to those of another one.
        scored, scored_ids = (outputs[alias][0, : len(self.targets)] for alias in ("tokens", "target_ids"))
        if len(scored) < len(self.targets):
            raise AnswerError(f"`tokens` must have {len(self.targets)} columns, one per target.")
        self._warn_of_replaced(scored, stacklevel + 1)
        ids, columns = np.unique(scored_ids, return_index=True)
        scores = outputs["scores"][..., columns]
        order = np.argsort(-scores, axis=-1, kind="stable")[..., : self.top_k]
        return scored[columns][order], ids[order], np.take_along_axis(scores, order, -1)

    def _warn_of_replaced(self, scored: np.ndarray, stacklevel: int) -> None:
        assert self.targets is not None
        replaced = {
            target: token for target, token in zip(self.targets, scored, strict=True) if target != token
        }
        for target, token in replaced.items():
            warnings.warn(
                f"The target `{_text(target)}` is not one token of the vocabulary: its first token "
                f"`{_text(token)}` is scored in its place.",
                ReplacedTargetWarning,
                stacklevel=stacklevel,
            )


def _check_places(outputs: Outputs) -> None:
    """Each text has a mask, masks stand in their text, and -1 only behind them."""
    positions, lengths = outputs["mask_positions"], outputs["lengths"]
    is_mask = positions >= 0
    sound = (
        is_mask.shape[1] > 0
        and is_mask[:, 0].all()
        and (is_mask[:, :-1] >= is_mask[:, 1:]).all()
        and (positions < lengths[:, np.newaxis]).all()
        and (lengths <= outputs["text_tokens"].shape[1]).all()
    )
    if not sound:
        raise AnswerError("`mask_positions` and `lengths` must be those of the texts' masks and tokens.")


def _text_fills(
    decoder: Decoder,
    text: list[str],
    positions: list[int],
    tokens: list[list[str]],
    token_ids: list[list[int]],
    scores: list[list[float]],
) -> list[list[Fill]]:
    """The fills of one text, mask by mask."""
    # With several masks the others stay visible, and with them all special tokens but the padding.
    shown = {"skip_special_tokens": len(positions) == 1}
    masks = []
    for position, *ranked in zip(positions, tokens, token_ids, scores, strict=False):
        fills = []
        for token, index, score in zip(*ranked, strict=True):
            filled = [*text[:position], token, *text[position + 1 :]]
            fills.append(
                {
                    "score": score,
                    "token": index,
                    "token_str": decoder.decode([token], skip_special_tokens=False),
                    "sequence": decoder.decode([t for t in filled if t != decoder.pad_token], **shown),
                }
            )
        masks.append(fills)
    return masks


def _whole(top_k: Any) -> int:
    try:
        number = operator.index(top_k)
    except TypeError:
        number = 0
    if number < 1 or isinstance(top_k, bool):
        raise InvalidInputError(f"`top_k` must be a whole number of at least 1. Received: top_k={top_k!r}.")
    return number


def _decoded(tokens: np.ndarray) -> list[str]:
    return [_text(token) for token in tokens.tolist()]


def _text(token: bytes) -> str:
    return token.decode("utf-8", "replace")
