"""Strings in, the likeliest tokens out, as Hugging Face's `fill-mask` pipeline gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.config import Buckets
from tf_mlm.model.inference import Inference
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import as_strings

Fill = dict[str, Any]


class FillMask:
    """Fills the masks of texts.

    Args:
        model: a `MaskedLM` with a preprocessor, such as `tf_mlm.load` returns.
        buckets: the shapes that XLA compiles, each at its first use.
        xla: compile the numeric programs: faster answers, after a first one that takes seconds per
            shape. For a handful of questions leave it off.

    Example:
        >>> fill = FillMask(model)
        >>> [sorted(row) for row in fill("the [MASK] runs", top_k=1)]
        [['score', 'sequence', 'token', 'token_str']]
    """

    def __init__(self, model: MaskedLM, *, buckets: Buckets | None = None, xla: bool = False) -> None:
        self.model = model
        self._buckets, self._xla = buckets, xla
        self._answers: dict[int, Any] = {}
        self.inference = self._prepare(min(10, model.head.vocabulary_size))

    def _prepare(self, top_k: int) -> Inference:
        inference = Inference(self.model, buckets=self._buckets, top_k=top_k, xla=self._xla)
        text = tf.TensorSpec([None], tf.string)
        self._answers[top_k] = tf.function(inference.fill, [text], autograph=False)
        return inference

    def __call__(
        self,
        text: str | Sequence[str],
        top_k: int = 5,
        targets: str | Sequence[str] | None = None,
    ) -> list[Any]:
        """The likeliest tokens for each mask.

        Args:
            text: one text or several, each with at least one mask token.
            top_k: how many fills per mask; with `targets`, at most their number.
            targets: score only these tokens (a word outside the vocabulary stands for its first piece).

        Returns:
            For one text with one mask, a list of `{"score", "token", "token_str", "sequence"}`, best
            first; for several masks a list of such lists; for a list of texts one more list around it (also
            for a list of one, which the pipeline would unwrap).

        Raises:
            tf.errors.InvalidArgumentError: for a text without a mask, or with one beyond the limit.
            ValueError: for no text at all, or `top_k` outside [1, vocabulary size].
        """
        texts = as_strings(text, "text")
        vocab = self.model.head.vocabulary_size
        if not texts.shape[0]:
            raise ValueError("At least one text is needed. Received: an empty list.")
        if not 1 <= top_k <= vocab:
            raise ValueError(
                f"`top_k` must lie in [1, {vocab}], the vocabulary's size. Received: top_k={top_k}."
            )
        if targets is None:
            scores, token_ids = self._best(texts, top_k)
        else:
            scores, token_ids = self._among(texts, as_strings(targets, "targets"), top_k)
        inputs = self.inference.preprocessor(texts)
        results = [
            self._text_fills(*row)
            for row in zip(
                inputs.token_ids.numpy(),
                inputs.lengths.numpy(),
                inputs.mask_positions.numpy(),
                scores,
                token_ids,
                strict=True,
            )
        ]
        return results[0] if isinstance(text, str | bytes) else results

    def _best(self, texts: tf.Tensor, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        fitting = [k for k in sorted(self._answers) if k >= top_k]
        if not fitting:
            self._prepare(top_k)
            fitting = [top_k]
        answer = self._answers[fitting[0]](texts)
        return answer["scores"].numpy()[..., :top_k], answer["token_ids"].numpy()[..., :top_k]

    def _among(self, texts: tf.Tensor, targets: tf.Tensor, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        distinct = np.unique(self.inference.preprocessor.target_ids(targets).numpy())
        if not len(distinct) or distinct[0] < 0:
            words = [target.decode("utf-8", "replace") for target in targets.numpy()]
            raise ValueError(f"Every target must contain at least one token. Received: targets={words!r}.")
        tokens = [self.inference.preprocessor.vocabulary.tokens[index] for index in distinct]
        answer = self.inference.score_targets(texts, tf.constant([tokens] * texts.shape[0]))
        scores = answer["scores"].numpy()
        order = np.argsort(-scores, axis=-1, kind="stable")[..., :top_k]
        return np.take_along_axis(scores, order, -1), distinct[order]

    def _text_fills(
        self,
        token_ids: np.ndarray,
        length: int,
        mask_positions: np.ndarray,
        scores: np.ndarray,
        fills: np.ndarray,
    ) -> list[Any]:
        detokenize = self.inference.preprocessor.detokenize
        positions = mask_positions[mask_positions >= 0]
        rows = []
        for mask, position in enumerate(positions):
            row: list[Fill] = []
            for score, token in zip(scores[mask].tolist(), fills[mask].tolist(), strict=True):
                filled = token_ids[:length].copy()
                filled[position] = token
                # With several masks the others stay visible, and with them all special tokens.
                sequence = detokenize(filled, skip_special_tokens=len(positions) == 1)
                row.append(
                    {
                        "score": score,
                        "token": token,
                        "token_str": detokenize([token], skip_special_tokens=False),
                        "sequence": sequence,
                    }
                )
            rows.append(row)
        return rows[0] if len(rows) == 1 else rows
