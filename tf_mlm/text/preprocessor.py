"""Texts to the dense int32 tensors a model reads, in the graph, and token ids back to text."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mlm.arguments import indices_argument, tensor_argument
from tf_mlm.config import Limits
from tf_mlm.errors import ConfigError
from tf_mlm.text.detokenizer import detokenize
from tf_mlm.text.strings import as_strings
from tf_mlm.text.template import Template
from tf_mlm.text.token_table import TokenTable
from tf_mlm.text.tokenizer import tokenizer_of
from tf_mlm.text.tokens import Tokenizer, Tokens
from tf_mlm.text.truncation import longest_first
from tf_mlm.text.vocabulary import Vocabulary


class Preprocessed(NamedTuple):
    """What a model reads of a batch of texts. `length` is that of the longest text, at least 2.

    Attributes:
        token_ids: int32 [batch, length], padded: `[CLS] text [SEP]`, or a pair as the vocabulary's
            configuration has it, such as BERT's `[CLS] text [SEP] pair [SEP]`.
        lengths: int32 [batch], tokens of each text, special ones included.
        segment_ids: int32 [batch, length]; for BERT 1 for the pair and its [SEP], else 0.
        mask_positions: int32 [batch, masks], ascending, -1 where a text has fewer masks than another.
        starts: int32 [batch, length], first byte of each token in its text; 0 for added tokens.
        ends: int32 [batch, length], byte behind the last one of each token; 0 for added tokens.
    """

    token_ids: tf.Tensor
    lengths: tf.Tensor
    segment_ids: tf.Tensor
    mask_positions: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor


class TextPreprocessor(tf.Module):
    """Tokenises texts or pairs of texts, adds special tokens, cuts and pads, and finds the masks.

    Works eagerly, in a `tf.function`, in `tf.data` and inside a SavedModel (the vocabulary is an asset).
    Text over the limit is cut as Hugging Face does with `truncation=True`: at the end, and of a pair the
    longer text first. A mask is never cut off silently.

    Args:
        vocabulary: the tokens; its configuration says how text is normalised.
        max_length: the most tokens of a text (or pair), special ones included; None: nothing is cut.
        pad_to_max_length: make `length` equal `max_length` for static shapes, as TPUs want them.
        tokenizer: replaces the one that the vocabulary describes; must be for the same vocabulary.
        limits: refuse batches with more bytes or tokens than these, before work is spent on them.

    Raises:
        ConfigError: at construction, if `max_length` has no room for a token of text, or there is none to
            pad to.
        tf.errors.InvalidArgumentError: on a call, if a mask lies beyond the limit; the message names
            the text, its token count and the limit.

    Example:
        >>> from tf_mlm.text.preprocessor import TextPreprocessor
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s"]
        >>> preprocess = TextPreprocessor(Vocabulary(tokens), max_length=8)
        >>> batch = preprocess(["The cats", "[MASK]"])
        >>> batch.token_ids.numpy().tolist()
        [[2, 5, 6, 7, 3], [2, 4, 3, 0, 0]]
        >>> batch.mask_positions.numpy().tolist(), batch.ends[0].numpy().tolist()
        ([[-1], [1]], [0, 3, 7, 8, 0])
        >>> preprocess.detokenize(batch.token_ids[0])
        'the cats'
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int | None = 512,
        *,
        pad_to_max_length: bool = False,
        tokenizer: Tokenizer | None = None,
        limits: Limits | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if max_length is None and pad_to_max_length:
            raise ConfigError(
                "`pad_to_max_length` needs a length to pad to. Received: max_length=None. Give a number."
            )
        self._single, self._pair = Template.single(vocabulary), Template.pair(vocabulary)
        if max_length is not None and max_length <= self._pair.size:
            raise ConfigError(
                f"`max_length` must be at least {self._pair.size + 1}: {self._pair.size} special tokens of a "
                f"pair and one of text. Received: max_length={max_length}."
            )
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.pad_to_max_length = pad_to_max_length
        self.tokenizer = tokenizer or tokenizer_of(vocabulary)
        self.limits = limits
        self._table = TokenTable(vocabulary)
        texts = tf.TensorSpec([None], tf.string)
        # One trace each for every batch size; eager calls then cost one function call.
        self._encode = tf.function(self._encode_texts, input_signature=[texts], autograph=False)
        self._encode_pair = tf.function(self._encode_pairs, input_signature=[texts, texts], autograph=False)

    def __call__(self, text: Any, pair: Any = None) -> Preprocessed:
        """The texts as model inputs.

        Args:
            text: string [batch], or a list of `str` or `bytes`, or one of them (a batch of one).
            pair: the second texts, as many as the first ones.
        """
        texts = as_strings(text, "text")
        if pair is None:
            return Preprocessed(*self._encode(texts))
        pairs = as_strings(pair, "pair")
        if not pairs.shape.is_compatible_with(texts.shape):
            raise ValueError(
                "`pair` must have as many texts as `text`. "
                f"Received: {pairs.shape[0]} beside {texts.shape[0]}."
            )
        return Preprocessed(*self._encode_pair(texts, pairs))

    def untraced(self, text: Any) -> Preprocessed:
        """A call for texts alone, operation by operation: one call does not repay the seconds of a trace.

        Args:
            text: as in a call.

        Example:
            >>> from tf_mlm.text.vocabulary import Vocabulary
            >>> tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the"]
            >>> preprocess = TextPreprocessor(Vocabulary(tokens))
            >>> preprocess.untraced("the [MASK]").token_ids.numpy().tolist()
            [[2, 5, 4, 3]]
        """
        return Preprocessed(*self._encode_texts(as_strings(text, "text")))

    def tokens_of(self, token_ids: Any) -> tf.Tensor:
        """The token strings of ids of any shape."""
        return self._table.tokens_of(indices_argument(token_ids, "token_ids"))

    def target_ids(self, targets: Any) -> tf.Tensor:
        """The ids that words to be scored stand for, as in Hugging Face's `fill-mask`.

        Args:
            targets: string, any shape.

        Returns:
            int32, same shape: the id of the token spelt so, else of the first token the text is made of,
            else (there is no token in it) -1.
        """
        targets = tensor_argument(targets, "targets", "strings")
        with tf.control_dependencies(self._check_size("targets", tf.reshape(targets, [-1]))):
            targets = tf.identity(targets)
        exact = self._table.ids_of(targets)
        found = self.tokenizer(tf.reshape(targets, [-1]))
        padded = tf.concat([found.token_ids, [-1]], 0)
        first = tf.gather(padded, tf.where(found.counts > 0, found.firsts, tf.size(found.token_ids)))
        return tf.where(exact >= 0, exact, tf.reshape(first, tf.shape(targets)))

    def detokenize(self, token_ids: Any, *, skip_special_tokens: bool = True) -> Any:
        """The text of token ids, as Hugging Face's `decode` gives it; plain Python, not for the graph.

        Args:
            token_ids: integers [length] or [batch, length].
            skip_special_tokens: leave out all five special tokens, else only the padding.

        Returns:
            A `str`, or a list of `batch` of them.
        """
        if isinstance(token_ids, tf.RaggedTensor):
            token_ids = token_ids.to_list()
        if isinstance(token_ids, (list, tuple)) and token_ids and np.ndim(token_ids[0]) == 1:
            return [self.detokenize(row, skip_special_tokens=skip_special_tokens) for row in token_ids]
        ids = indices_argument(token_ids, "token_ids")
        if ids.shape.rank == 2:
            return [self.detokenize(row, skip_special_tokens=skip_special_tokens) for row in ids]
        if ids.shape.rank != 1:
            raise ValueError(
                "`token_ids` must be integers of shape [length] or [batch, length]. "
                f"Received: dtype={ids.dtype.name}, shape={ids.shape}."
            )
        return detokenize(self.vocabulary, ids.numpy().tolist(), skip_special_tokens=skip_special_tokens)

    def _encode_texts(self, text: tf.Tensor) -> Preprocessed:
        with tf.control_dependencies(self._check_size("texts", text)):
            found = self.tokenizer(tf.identity(text))
        size = self._single.size
        kept = found.counts if self.max_length is None else tf.minimum(found.counts, self.max_length - size)
        no_token, zeros = found.token_ids[:0], tf.zeros_like(kept)
        none = Tokens(no_token, no_token, no_token, zeros, zeros)
        with tf.control_dependencies(self._checks(found, kept, found.counts + size, kept + size)):
            return self._assemble(found, none, kept, zeros, self._single)

    def _encode_pairs(self, text: tf.Tensor, pair: tf.Tensor) -> Preprocessed:
        same = tf.debugging.Assert(
            tf.equal(tf.size(text), tf.size(pair)),
            ["`text` and `pair` must have the same batch size. Received:", tf.size(text), tf.size(pair)],
        )
        with tf.control_dependencies([same, *self._check_size("texts", text, pair)]):
            first, second = self.tokenizer(tf.identity(text)), self.tokenizer(tf.identity(pair))
        size = self._pair.size
        kept, kept_second = first.counts, second.counts
        if self.max_length is not None:
            kept, kept_second = longest_first(first.counts, second.counts, self.max_length - size)
        total, lengths = first.counts + second.counts + size, kept + kept_second + size
        checks = [
            *self._checks(first, kept, total, lengths),
            *self._checks(second, kept_second, total, lengths),
        ]
        with tf.control_dependencies(checks):
            return self._assemble(first, second, kept, kept_second, self._pair)

    def _check_size(self, what: str, *texts: tf.Tensor) -> list[tf.Operation]:
        """Fail before anything is tokenised if there is too much of it."""
        if self.limits is None:
            return []
        size = tf.add_n([tf.reduce_sum(tf.cast(tf.strings.length(text), tf.int64)) for text in texts])
        count = tf.add_n([tf.size(text, tf.int64) for text in texts])
        most, few = self.limits.bytes, self.limits.tokens // 2
        rules = (
            (size <= most, f"All {what} of a request may hold at most {most} bytes together", size),
            (count <= few, f"A request may have at most {few} {what}", count),
        )
        return [_assert_limit(*rule) for rule in rules]

    def _checks(
        self, found: Tokens, kept: tf.Tensor, total: tf.Tensor, lengths: tf.Tensor
    ) -> list[tf.Operation]:
        """Fail if a mask would be cut off, or if the texts do not fit the limits once they are padded."""
        checks = [] if self.max_length is None else [self._check_masks(found, kept, total)]
        if self.limits is not None:
            longest = tf.cast(tf.reduce_max(tf.concat([lengths, [2]], 0)), tf.int64)
            size, most = tf.size(lengths, tf.int64) * longest, self.limits.tokens
            rule = f"A request may have at most {most} tokens, texts times the tokens of the longest one"
            checks.append(_assert_limit(size <= most, rule, size))
        return checks

    def _check_masks(self, found: Tokens, kept: tf.Tensor, total: tf.Tensor) -> tf.Operation:
        """Fail if a mask is not among the `kept` first tokens of a text."""
        is_mask = tf.cast(found.token_ids == self.vocabulary.mask_id, tf.int32)
        before = tf.concat([[0], tf.cumsum(is_mask)], 0)
        is_lost = tf.gather(before, found.firsts + found.counts) > tf.gather(before, found.firsts + kept)
        rows = tf.where(is_lost)[:1, 0]  # the first such text, or none
        message = tf.strings.join(
            [
                "No mask may lie beyond the length limit; text ",
                tf.strings.as_string(rows),
                " has ",
                tf.strings.as_string(tf.gather(total, rows)),
                f" tokens (special ones included), the limit is {self.max_length}, and a mask would be cut "
                "off. Shorten the text, or move the mask nearer to its start.",
            ]
        )
        return tf.debugging.Assert(tf.equal(tf.size(rows), 0), [message])

    def _assemble(
        self, first: Tokens, second: Tokens, kept: tf.Tensor, kept_second: tf.Tensor, template: Template
    ) -> Preprocessed:
        """Dense tensors by one gather each: which token stands at which place is arithmetic on the counts."""
        lengths = kept + kept_second + template.size
        length = self.max_length if self.pad_to_max_length else tf.reduce_max(tf.concat([lengths, [2]], 0))
        place = tf.range(length)[tf.newaxis]
        kept, kept_second = kept[:, tf.newaxis], kept_second[:, tf.newaxis]
        starts = template.starts(kept, kept_second)
        in_first = (place >= starts.first) & (place < starts.first + kept)
        in_second = (place >= starts.second) & (place < starts.second + kept_second)

        nothing = tf.size(first.token_ids) + tf.size(second.token_ids)
        source = tf.where(in_first, first.firsts[:, tf.newaxis] + place - starts.first, nothing)
        from_second = tf.size(first.token_ids) + second.firsts[:, tf.newaxis] + place - starts.second
        source = tf.where(in_second, from_second, source)

        def placed(of_first: tf.Tensor, of_second: tf.Tensor, elsewhere: int) -> tf.Tensor:
            return tf.gather(tf.concat([of_first, of_second, [elsewhere]], 0), source)

        token_ids = placed(first.token_ids, second.token_ids, self.vocabulary.pad_id)
        for special, at in starts.specials:
            token_ids = tf.where(place == at, special, token_ids)
        segment_ids = tf.zeros_like(token_ids)
        for segment, begin, end in starts.segments:
            segment_ids = tf.where((place >= begin) & (place < end), segment, segment_ids)
        return Preprocessed(
            token_ids=token_ids,
            lengths=lengths,
            segment_ids=segment_ids,
            mask_positions=_positions(token_ids == self.vocabulary.mask_id),
            starts=placed(first.starts, second.starts, 0),
            ends=placed(first.ends, second.ends, 0),
        )


def _assert_limit(holds: tf.Tensor, rule: str, received: tf.Tensor) -> tf.Operation:
    message = f"{rule}; the export sets this limit. Send less at a time. Received:"
    return tf.raw_ops.Assert(condition=holds, data=[message, received], summarize=8)


def _positions(is_mask: tf.Tensor) -> tf.Tensor:
    """int32 [batch, masks], the places in each row that are true, in order, then -1."""
    counted = tf.cumsum(tf.cast(is_mask, tf.int32), axis=1)
    found = tf.where(is_mask)
    nth = tf.cast(tf.gather_nd(counted, found) - 1, tf.int64)
    shape = tf.stack([tf.shape(is_mask)[0], tf.reduce_max(tf.concat([tf.reshape(counted, [-1]), [0]], 0))])
    return tf.tensor_scatter_nd_update(
        tf.fill(shape, -1), tf.stack([found[:, 0], nth], 1), tf.cast(found[:, 1], tf.int32)
    )
