"""Names, inputs and outputs of the exported signatures: what exporter, server and client agree on.

Only the standard library is imported here, so a client needs no TensorFlow to know them.
Shapes name their axes; dim 0 is always the batch, so TF-Serving can merge requests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_mlm.errors import AnswerError, MissingOutputsError

PORTABLE = "_portable"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Type and named axes of one input or output."""

    dtype: str
    shape: tuple[str, ...]


_KINDS = {"string": "O", "float32": "f", "int32": "iu"}


@dataclasses.dataclass(frozen=True)
class Signature:
    """One exported signature: alias to `Tensor`, for its inputs and its outputs."""

    name: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    @property
    def portable_name(self) -> str:
        """The name of the twin without XLA."""
        return self.name + PORTABLE

    def check_outputs(self, outputs: Mapping[str, Any], batch: int) -> None:
        """Whether an answer is one of this signature, whoever gave it.

        Args:
            outputs: alias to NumPy array, strings as `bytes` in arrays of objects.
            batch: how many rows were asked about.

        Raises:
            MissingOutputsError: when it lacks some, as the answers of an older export do.
            AnswerError: for another type or shape than the signature's, or axes that do not fit together.

        Example:
            >>> ENCODE.check_outputs({}, 1)
            Traceback (most recent call last):
            tf_mlm.errors.MissingOutputsError: The answer of `encode` lacks embeddings.
        """
        if missing := sorted(self.outputs.keys() - outputs.keys()):
            raise MissingOutputsError(f"The answer of `{self.name}` lacks {', '.join(missing)}.")
        sizes = {"batch": batch}
        for alias, tensor in self.outputs.items():
            array = outputs[alias]
            fits = array.dtype.kind in _KINDS[tensor.dtype] and array.ndim == len(tensor.shape)
            # Of an empty array JSON keeps the outer sizes only.
            axes = list(zip(tensor.shape, array.shape, strict=False))[: None if array.size else 1]
            fits = fits and all(sizes.setdefault(axis, size) == size for axis, size in axes)
            if not fits or (tensor.dtype == "string" and not all(type(s) is bytes for s in array.flat)):
                known = [sizes.get(axis, axis) for axis in tensor.shape]
                raise AnswerError(
                    f"`{alias}` of `{self.name}` must be {tensor.dtype} of the shape {known}, not "
                    f"{array.dtype} of {list(array.shape)}."
                )


_TEXT = {"text": Tensor("string", ("batch",))}
# What one needs beside the answer to write the filled text, so that a fill is one request: the text's own
# tokens, and in each row how tokens read as text (`tf_mlm.decoder`, as JSON).
_TEXT_TOKENS = {
    "text_tokens": Tensor("string", ("batch", "length")),
    "lengths": Tensor("int32", ("batch",)),
    "decoder": Tensor("string", ("batch",)),
}

FILL = Signature(
    "serving_default",
    _TEXT,
    {
        "tokens": Tensor("string", ("batch", "masks", "k")),
        "token_ids": Tensor("int32", ("batch", "masks", "k")),
        "scores": Tensor("float32", ("batch", "masks", "k")),
        "mask_positions": Tensor("int32", ("batch", "masks")),
        **_TEXT_TOKENS,
    },
)
SCORE_TARGETS = Signature(
    "score_targets",
    {**_TEXT, "targets": Tensor("string", ("batch", "candidates"))},
    {
        "scores": Tensor("float32", ("batch", "masks", "candidates")),
        "target_ids": Tensor("int32", ("batch", "candidates")),
        "tokens": Tensor("string", ("batch", "candidates")),
        "mask_positions": Tensor("int32", ("batch", "masks")),
        **_TEXT_TOKENS,
    },
)
PSEUDO_LOG_LIKELIHOOD = Signature(
    "pseudo_log_likelihood",
    _TEXT,
    {
        "score": Tensor("float32", ("batch",)),
        "token_scores": Tensor("float32", ("batch", "length")),
        "tokens": Tensor("string", ("batch", "length")),
        "lengths": Tensor("int32", ("batch",)),
        "scored_tokens": Tensor("int32", ("batch",)),
    },
)
ENCODE = Signature("encode", _TEXT, {"embeddings": Tensor("float32", ("batch", "hidden"))})
TOKENIZE = Signature(
    "tokenize",
    _TEXT,
    {
        "token_ids": Tensor("int32", ("batch", "length")),
        "tokens": Tensor("string", ("batch", "length")),
        "starts": Tensor("int32", ("batch", "length")),
        "ends": Tensor("int32", ("batch", "length")),
        "lengths": Tensor("int32", ("batch",)),
    },
)
PREDICT_MASKED = Signature(
    "predict_masked",
    {
        "token_ids": Tensor("int32", ("batch", "length")),
        "lengths": Tensor("int32", ("batch",)),
        "segment_ids": Tensor("int32", ("batch", "length")),
        "mask_positions": Tensor("int32", ("batch", "masks")),
    },
    {"logits": Tensor("float32", ("batch", "masks", "vocab"))},
)
MASKED_LM_HEAD = Signature(
    "masked_lm_head",
    {
        "hidden_states": Tensor("float32", ("batch", "length", "hidden")),
        "mask_positions": Tensor("int32", ("batch", "masks")),
    },
    {"logits": Tensor("float32", ("batch", "masks", "vocab"))},
)

SIGNATURES = (FILL, SCORE_TARGETS, PSEUDO_LOG_LIKELIHOOD, ENCODE, TOKENIZE, PREDICT_MASKED, MASKED_LM_HEAD)
# What a model directory answers beside them, and no export.
HIDDEN_STATES = Signature(
    "hidden_states",
    _TEXT,
    {
        "hidden_states": Tensor("float32", ("batch", "length", "hidden")),
        "tokens": Tensor("string", ("batch", "length")),
        "lengths": Tensor("int32", ("batch",)),
    },
)
WITHIN_WORD = Signature("within_word_pseudo_log_likelihood", _TEXT, PSEUDO_LOG_LIKELIHOOD.outputs)
OF_DIRECTORIES = (HIDDEN_STATES, WITHIN_WORD)
