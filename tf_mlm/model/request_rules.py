"""What may be asked at a time: limits on texts, ids and the size of an answer."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm import signatures
from tf_mlm.config import Limits
from tf_mlm.model.rules import Rule, checked, with_axes, within
from tf_mlm.text.preprocessor import Preprocessed

_LIMIT = "the export sets this limit. Send less at a time."
_WINDOWS = "or read long texts in windows (`long_texts`, `tf-mlm export --long-texts windows`)."
_UNUSED = "-1 for an unused slot."


def inputs_of(signature: signatures.Signature, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    """The inputs of a question, of the ranks that its signature names."""
    axes = {alias: tensor.shape for alias, tensor in signature.inputs.items()}
    return with_axes({alias: tf.convert_to_tensor(value) for alias, value in inputs.items()}, axes)


class RequestRules:
    """The rules of one model and one set of limits.

    Args:
        limits: the most that a request may ask for, or None for no limit.
        length: the most tokens of a text or a row.
        vocabulary: tokens of the vocabulary.
        segments: what segment ids stay below.
        hidden: size of the hidden states.
    """

    def __init__(
        self, limits: Limits | None, *, length: int, vocabulary: int, segments: int, hidden: int
    ) -> None:
        self.limits = limits
        self.length, self.vocabulary, self.segments, self.hidden = length, vocabulary, segments, hidden

    def not_too_long(self, inputs: Preprocessed, is_over: tf.Tensor, rule: str, advice: str) -> Preprocessed:
        """Refuses the first of the texts that `is_over` [batch] marks."""
        first = tf.where(is_over)[:1, 0]  # or none
        counts = [tf.strings.as_string(part) for part in (first, tf.gather(inputs.lengths, first))]
        found = tf.strings.reduce_join(tf.strings.join(["text ", counts[0], " has ", counts[1]]))
        limit = f" tokens (special ones included), the limit is {self.length}"
        rule = tf.strings.join([rule, "; ", found, limit, advice, "; ", _WINDOWS])
        return Preprocessed(*checked(inputs, (tf.equal(tf.size(first), 0), rule, None)))

    def copies(self, places: tf.Tensor) -> list[Rule]:
        """Whether so many tokens [copies, 2] may be masked one by one."""
        if self.limits is None:
            return []
        copies, most = tf.shape(places)[0], self.limits.copies
        rule = f"A request may have at most {most} tokens to be masked one by one; {_LIMIT}"
        return [(copies <= most, rule, copies)]

    def answer(self, shape: tf.Tensor, depth: Any) -> list[Rule]:
        """Whether an answer of `depth` values for each slot of a shape stays within the limits."""
        if self.limits is None:
            return []
        values, most = tf.reduce_prod(tf.cast(shape, tf.int64)) * tf.cast(depth, tf.int64), self.limits.values
        return [(values <= most, f"An answer may hold at most {most} values; {_LIMIT}", values)]

    def masked_ids(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, segment_ids: tf.Tensor, mask_positions: tf.Tensor
    ) -> list[tf.Tensor]:
        """The inputs of `signatures.PREDICT_MASKED`, once they fit each other, the model and the limits."""
        shape, vocab, segments = tf.shape(token_ids), self.vocabulary, self.segments
        real_lengths = "`lengths` must lie in [0, number of columns of `token_ids`]."
        rules = (
            (shape[1] <= self.length, f"`token_ids` must have at most {self.length} columns.", shape),
            _same(tf.shape(segment_ids), shape, "`segment_ids` must have the shape of `token_ids`."),
            _same(tf.shape(lengths)[0], shape[0], "`lengths` must have one entry per row of `token_ids`."),
            _same(
                tf.shape(mask_positions)[0],
                shape[0],
                "`mask_positions` must have one row per row of `token_ids`.",
            ),
            (within(token_ids, vocab), f"`token_ids` must lie in [0, {vocab}).", token_ids),
            (within(segment_ids, segments), f"`segment_ids` must lie in [0, {segments}).", segment_ids),
            (within(lengths, shape[1] + 1), real_lengths, lengths),
            *self._size(shape, mask_positions),
        )
        [token_ids, lengths, segment_ids, mask_positions] = checked(
            [token_ids, lengths, segment_ids, mask_positions], *rules
        )
        real = tf.reduce_all((mask_positions >= -1) & (mask_positions < lengths[:, tf.newaxis]))
        rule = f"`mask_positions` must lie in [0, length of their row), or be {_UNUSED}"
        [mask_positions] = checked([mask_positions], (real, rule, mask_positions))
        return [token_ids, lengths, segment_ids, mask_positions]

    def masked_states(self, hidden_states: tf.Tensor, mask_positions: tf.Tensor) -> list[tf.Tensor]:
        """The same for `signatures.MASKED_LM_HEAD`."""
        shape = tf.shape(hidden_states)
        inside = f"`mask_positions` must lie in [0, length), or be {_UNUSED}"
        rules = (
            _same(shape[2], self.hidden, f"`hidden_states` must have {self.hidden} columns."),
            _same(
                tf.shape(mask_positions)[0],
                shape[0],
                "`mask_positions` must have one row per row of `hidden_states`.",
            ),
            (within(mask_positions + 1, shape[1] + 1), inside, mask_positions),
            *self._size(shape, mask_positions),
        )
        return checked([hidden_states, mask_positions], *rules)

    def _size(self, shape: tf.Tensor, mask_positions: tf.Tensor) -> list[Rule]:
        """Whether rows [batch, length, ...] with so many slots stay within the limits, and their answer."""
        if self.limits is None:
            return []
        tokens, most = tf.reduce_prod(tf.cast(shape[:2], tf.int64)), self.limits.tokens
        rule = f"A request may have at most {most} tokens, rows times columns; {_LIMIT}"
        depth = max(self.vocabulary, self.hidden)
        return [(tokens <= most, rule, tokens), *self.answer(tf.shape(mask_positions), depth)]


def _same(found: tf.Tensor, wanted: Any, rule: str) -> Rule:
    """Equal sizes: a size or shape, and what it must be."""
    return tf.reduce_all(found == wanted), rule, found
