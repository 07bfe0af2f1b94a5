"""A few held-out sentences with one word hidden, filled in again at each evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.training.data.token_store import StoredRows

CONTEXT = 7  # tokens shown on each side
MOST_ROWS = 1 << 20
"""Samples come from the first so many rows, as the order of all of them may not fit into memory."""


class SampleFills:
    """The same hidden words each time, so that one can watch the guesses improve.

    Args:
        model: encoder and head.
        preprocessor: spells ids.
        rows: held-out token ids.
        count: number of samples at most.
        seed: of the choice.
    """

    def __init__(
        self,
        model: MaskedLM,
        preprocessor: TextPreprocessor,
        rows: StoredRows,
        *,
        count: int = 3,
        seed: int = 0,
    ) -> None:
        self._preprocessor = preprocessor
        vocabulary = preprocessor.vocabulary
        whole_words = np.array([len(token) > 3 and token.isalpha() for token in vocabulary.tokens])
        continues = np.zeros(vocabulary.size, bool)
        continues[list(vocabulary.continuation_ids)] = True
        self._rows: list[np.ndarray] = []
        self._lengths: list[int] = []
        self._places: list[int] = []
        draw = np.random.default_rng(seed)
        for index in draw.permutation(min(rows.total, MOST_ROWS))[: 10 * count]:
            row, length, *_ = rows.take(index)
            # A whole word, and not the first piece of a longer one.
            places = np.flatnonzero(whole_words[row[1:-1]] & ~continues[row[2:]]) + 1
            if len(places) and len(self._rows) < count:
                self._rows.append(row)
                self._lengths.append(int(length))
                self._places.append(int(draw.choice(places)))

        def top(
            token_ids: tf.Tensor, lengths: tf.Tensor, positions: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            logits = model(token_ids, lengths, None, positions)
            best = tf.math.top_k(tf.nn.softmax(logits[:, 0]), 3)
            return best.values, best.indices

        self._top = tf.function(top, autograph=False)

    def __call__(self) -> list[dict[str, Any]]:
        """One mapping per sample: `text` with the mask token, `hidden` word, and `guesses` with scores."""
        if not self._rows:
            return []
        vocabulary = self._preprocessor.vocabulary
        token_ids = np.stack(self._rows)
        places = np.array(self._places)
        hidden = token_ids[np.arange(len(places)), places]
        token_ids[np.arange(len(places)), places] = vocabulary.mask_id
        scores, ids = self._top(
            tf.constant(token_ids),
            tf.constant(self._lengths),
            tf.constant(places[:, np.newaxis], tf.int32),
        )
        fills = []
        for row, place, word, row_scores, row_ids in zip(
            token_ids, places, hidden, scores.numpy(), ids.numpy(), strict=True
        ):
            before = self._preprocessor.detokenize(row[max(1, place - CONTEXT) : place])
            after = self._preprocessor.detokenize(row[place + 1 : place + 1 + CONTEXT])
            guesses = [
                {"token": self._spelt(token), "score": float(score)}
                for token, score in zip(row_ids, row_scores, strict=True)
            ]
            text = f"{before} {vocabulary.config.mask_token} {after}".strip()
            fills.append({"text": text, "hidden": self._spelt(word), "guesses": guesses})
        return fills

    def _spelt(self, token: int) -> str:
        """A token as it reads, without the blank that byte-level tokens begin with."""
        return self._preprocessor.detokenize([token], skip_special_tokens=False).strip()
