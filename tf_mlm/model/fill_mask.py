"""Strings in, the likeliest tokens out, as Hugging Face's `fill-mask` pipeline gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.config import Buckets
from tf_mlm.errors import InvalidInputError
from tf_mlm.fills import FillRequest
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.model.questions import Inference
from tf_mlm.model.rules import in_plain_words
from tf_mlm.signatures import Signature


class FillMask:
    """Fills the masks of texts.

    Args:
        model: a `MaskedLM` with a preprocessor, such as `tf_mlm.load` returns.
        buckets: the shapes that XLA compiles, each at its first use.
        xla: compile the numeric programs: faster answers, after a first one that takes seconds per
            shape. For a handful of questions leave it off.
        long_texts: `"refuse"` a mask beyond the model's limit, or fill masks anywhere in `"windows"`: each is
            filled with as much of the text around it as fits.

    Example:
        >>> fill = FillMask(model)
        >>> [sorted(row) for row in fill("the [MASK] runs", top_k=1)]
        [['score', 'sequence', 'token', 'token_str']]
    """

    def __init__(
        self,
        model: MaskedLM,
        *,
        buckets: Buckets | None = None,
        xla: bool = False,
        long_texts: str = "refuse",
    ) -> None:
        self.model = model
        self._options: dict[str, Any] = {"buckets": buckets, "xla": xla, "long_texts": long_texts}
        self._prepared: dict[int, dict[str, Any]] = {}
        self.inference = self._prepare(min(10, model.head.vocabulary_size))

    def _prepare(self, top_k: int) -> Inference:
        inference = Inference(self.model, top_k=top_k, **self._options)
        text, targets = tf.TensorSpec([None], tf.string), tf.TensorSpec([None, None], tf.string)
        self._prepared[top_k] = {
            "serving_default": tf.function(inference.fill, [text], autograph=False),
            "score_targets": tf.function(inference.score_targets, [text, targets], autograph=False),
        }
        return inference

    def __call__(self, text: Any, top_k: int = 5, targets: Any = None) -> list[Any]:
        """The likeliest tokens for each mask.

        Args:
            text: one text or several (`str` or `bytes`), each with at least one mask token.
            top_k: how many fills per mask; with `targets`, at most their number.
            targets: score only these tokens. A word outside the vocabulary stands for its first token,
                and a `ReplacedTargetWarning` says so.

        Returns:
            For one text with one mask, a list of `{"score", "token", "token_str", "sequence"}`, best
            first; for several masks a list of such lists; for a list of texts one more list around it (also
            for a list of one, which the pipeline would unwrap).

        Raises:
            InvalidInputError: for what is no text, no text at all, `top_k` outside [1, vocabulary size]; also
                for a text without a mask or with one beyond the limit (then it is a
                `tf.errors.InvalidArgumentError` too).
        """
        request = FillRequest(text, top_k, targets)
        outputs = self._ask(request.signature, request.top_k, request.inputs)
        return request.answer(outputs, stacklevel=3)

    def _ask(self, signature: Signature, top_k: int, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        ready = [k for k in sorted(self._prepared) if k >= top_k or "targets" in inputs]
        if not ready:
            vocab = self.model.head.vocabulary_size
            if top_k > vocab:
                raise InvalidInputError(
                    f"`top_k` must lie in [1, {vocab}], the vocabulary's size. Received: top_k={top_k}."
                )
            self._prepare(top_k)
            ready = [top_k]
        with in_plain_words():
            answer = self._prepared[ready[0]][signature.name](**inputs)
        return {alias: value.numpy() for alias, value in answer.items()}
