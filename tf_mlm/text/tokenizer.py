"""BERT's tokenizer in the graph: normalisation, words, WordPiece, and byte offsets into the original text.

Ids and offsets equal those of Hugging Face's `BertTokenizerFast` (the `tokenizers` library), special tokens
spelt in the text included. Two paths lead there:

* **Plain lines** (printable ASCII, tabs and line ends, no special token; most of English text): a byte is a
  character, lower-casing keeps its place, so `tf_text.FastWordpieceTokenizer` on the lower-cased line gives
  ids and offsets at once.
* **Any other line** is decoded to code points, which `tf_mlm.text.code_points` normalises exactly as the
  library does (`tf_text`'s own normaliser differs: other version of Unicode, case folding). Words are cut
  from the result, and each token's offsets are traced back through it.

Everything is vectorised over all characters of the batch, linear in their number, and made of operations
that a stock TF-Serving registers. Bytes that are not UTF-8 count as U+FFFD, which normalisation drops.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

from tf_mlm.config import ConfigError
from tf_mlm.text import code_points as cp
from tf_mlm.text.special_tokens import SpecialTokenFinder
from tf_mlm.text.tokens import Tokens
from tf_mlm.text.vocabulary import CONTINUATION_PREFIX, Vocabulary

MAX_WORD_LENGTH = 100
"""Longer words, counted in normalised characters, become one unknown token, as in every BERT."""

_PLAIN = r"[\t\n\r -~]*"


class WordPieceTokenizer(tf.Module):
    """BERT's tokenizer for one vocabulary, cased or uncased as its configuration says.

    Raises:
        ConfigError: at construction, if one special token could overlap another one in a text, so that
            it would be unclear which of them is meant; or if tf.text cannot hold the vocabulary (a token of
            more than 256 bytes).

    Example:
        >>> from tf_mlm.text.tokenizer import WordPieceTokenizer
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "caf", "##e", "!"]
        >>> tokenizer = WordPieceTokenizer(Vocabulary(tokens))
        >>> found = tokenizer(["Café[MASK]!"])
        >>> found.token_ids.numpy().tolist(), found.starts.numpy().tolist(), found.ends.numpy().tolist()
        ([5, 6, 4, 7], [0, 3, 5, 11], [3, 5, 11, 12])
    """

    def __init__(self, vocabulary: Vocabulary, name: str | None = None) -> None:
        super().__init__(name=name)
        self.vocabulary = vocabulary
        config = vocabulary.config
        table = cp.code_points(config)
        self._pages = tf.constant(table.pages)
        self._entries = tf.constant(table.entries)
        self._pool = tf.constant(table.pool)
        self._marks = tf.constant(table.marks)
        self._mark_classes = tf.constant(table.mark_classes)

        self._specials = SpecialTokenFinder(vocabulary)

        def wordpiece(max_bytes: int, single_words: bool) -> tf_text.FastWordpieceTokenizer:
            try:
                return tf_text.FastWordpieceTokenizer(
                    vocab=list(vocabulary.tokens),
                    suffix_indicator=CONTINUATION_PREFIX,
                    max_bytes_per_word=max_bytes,
                    token_out_type=tf.int32,
                    unknown_token=config.unk_token,
                    no_pretokenization=single_words,
                )
            except RuntimeError as error:
                raise ConfigError(
                    f"tf.text cannot build a WordPiece model of this vocabulary: {error}"
                ) from error

        self._wordpiece_of_lines = wordpiece(MAX_WORD_LENGTH, single_words=False)
        # A character takes at most four bytes; longer words never get that far.
        self._wordpiece_of_words = wordpiece(4 * MAX_WORD_LENGTH, single_words=True)

    def __call__(self, text: tf.Tensor) -> Tokens:
        """Tokens of the texts.

        Args:
            text: string [batch].
        """
        text = tf.convert_to_tensor(text, tf.string)
        is_plain = self._is_plain(text)
        plain_rows = tf.where(is_plain)[:, 0]
        other_rows = tf.where(~is_plain)[:, 0]
        plain = self._tokens_of_plain(tf.gather(text, plain_rows))
        other = tf.cond(
            tf.size(other_rows) > 0,
            lambda: self._tokens_of_any(tf.gather(text, other_rows)),
            lambda: Tokens(*[tf.zeros([0], tf.int32)] * 5),
        )
        behind = tf.size(plain.token_ids)
        rows = [tf.cast(plain_rows, tf.int32), tf.cast(other_rows, tf.int32)]
        return Tokens(
            token_ids=tf.concat([plain.token_ids, other.token_ids], 0),
            starts=tf.concat([plain.starts, other.starts], 0),
            ends=tf.concat([plain.ends, other.ends], 0),
            firsts=tf.dynamic_stitch(rows, [plain.firsts, other.firsts + behind]),
            counts=tf.dynamic_stitch(rows, [plain.counts, other.counts]),
        )

    def _is_plain(self, text: tf.Tensor) -> tf.Tensor:
        return tf.strings.regex_full_match(text, _PLAIN) & ~self._specials.is_in_ascii(text)

    def _tokens_of_plain(self, text: tf.Tensor) -> Tokens:
        if self.vocabulary.config.do_lower_case:
            text = tf.strings.lower(text)
        token_ids, starts, ends = self._wordpiece_of_lines.tokenize_with_offsets(text)
        return _tokens(token_ids.flat_values, starts.flat_values, ends.flat_values, token_ids.row_splits)

    def _tokens_of_any(self, text: tf.Tensor) -> Tokens:
        characters, starts = tf.strings.unicode_decode_with_offsets(text, "UTF-8", errors="replace")
        points = characters.flat_values  # [characters], as are most tensors below
        starts = tf.cast(starts.flat_values, tf.int32)
        ends = starts + _utf8_size(points)
        line_splits = tf.cast(characters.row_splits, tf.int32)

        pages = tf.gather(self._pages, _shift(points, cp.PAGE_BITS))
        entries = tf.gather(self._entries, pages * cp.PAGE_SIZE + (points & (cp.PAGE_SIZE - 1)))
        entries, ends, given_ids = self._keep_specials_whole(points, line_splits, entries, starts, ends)
        points, entries = self._sort_marks(points, line_splits, entries)

        # Which word each character belongs to: words end at spaces and around lone characters.
        kinds = entries & cp.KIND_MASK
        is_alone = kinds == cp.ALONE
        is_break = is_alone | (kinds == cp.SPACE) | tf.concat([[False], is_alone], 0)[:-1]
        segments = tf.cumsum(tf.cast(is_break, tf.int32))

        # From here on [kept] characters: those that normalisation leaves, each with its owner in the text.
        counts = _shift(entries, cp.COUNT_SHIFT) & cp.COUNT_MASK
        kept, owners = self._replace(points, counts, _shift(entries, cp.VALUE_SHIFT))
        kept_segments = tf.gather(segments, owners)
        is_first = kept_segments[1:] != kept_segments[:-1]
        is_first = tf.concat([[True], is_first, [True]], 0)[: tf.size(kept) + 1]
        # Words also end with their line. The last entry stands for the end of all of them.
        kept_splits = tf.gather(tf.concat([[0], tf.cumsum(counts)], 0), line_splits)
        is_first = tf.tensor_scatter_nd_update(
            is_first, kept_splits[:, tf.newaxis], tf.ones_like(kept_splits, tf.bool)
        )
        word_splits = tf.cast(tf.where(is_first)[:, 0], tf.int32)
        word_firsts, word_lasts = word_splits[:-1], word_splits[1:] - 1

        is_long = word_lasts - word_firsts >= MAX_WORD_LENGTH
        word_ids = tf.gather(given_ids, tf.gather(owners, word_firsts))  # −1: for WordPiece to find out
        word_ids = tf.where(is_long, self.vocabulary.unk_id, word_ids)
        words = tf.strings.unicode_encode(
            tf.RaggedTensor.from_row_splits(kept, word_splits, validate=False), "UTF-8"
        )
        # One character makes exactly one token, whose id is then put right.
        words = tf.cond(tf.reduce_any(is_long), lambda: tf.where(is_long, "-", words), lambda: words)

        pieces, piece_starts, piece_ends = self._wordpiece_of_words.tokenize_with_offsets(words)
        word_of = tf.cast(pieces.value_rowids(), tf.int32)  # [tokens], as are all below
        given = tf.gather(word_ids, word_of)
        is_given = given >= 0
        sizes = _utf8_size(kept)
        byte_firsts = tf.cumsum(sizes, exclusive=True)
        byte_owners = tf.repeat(tf.range(tf.size(kept)), sizes)  # which character each byte of a word is of
        word_bytes = tf.gather(byte_firsts, tf.gather(word_firsts, word_of))
        first = tf.gather(byte_owners, word_bytes + tf.cast(piece_starts.flat_values, tf.int32))
        last = tf.gather(byte_owners, word_bytes + tf.cast(piece_ends.flat_values, tf.int32) - 1)
        last = tf.where(is_given, tf.gather(word_lasts, word_of), last)

        token_splits = tf.gather(pieces.row_splits, tf.searchsorted(word_firsts, kept_splits))
        return _tokens(
            tf.where(is_given, given, pieces.flat_values),
            tf.gather(starts, tf.gather(owners, first)),
            tf.gather(ends, tf.gather(owners, last)),
            token_splits,
        )

    def _keep_specials_whole(
        self,
        points: tf.Tensor,
        line_splits: tf.Tensor,
        entries: tf.Tensor,
        starts: tf.Tensor,
        ends: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Make each special token one lone character that spans it.

        Returns:
            Entries and ends with that change, and [characters] the id of the special token or -1.
        """
        places, which = self._specials.find(points, line_splits)
        size = tf.size(points)
        no_ids = tf.fill([size], -1)

        def keep() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            place = places[:, tf.newaxis]
            behind = place + tf.gather(self._specials.lengths, which)[:, tf.newaxis]
            one = tf.ones_like(places)
            edges = tf.scatter_nd(tf.concat([place, behind], 0), tf.concat([one, -one], 0), [size + 1])
            cleaned = tf.where(tf.cumsum(edges)[:-1] > 0, cp.CLEANED, entries)
            special_ends = tf.gather(starts, places) + tf.gather(self._specials.sizes, which)
            return (
                tf.tensor_scatter_nd_update(cleaned, place, one * (cp.ALONE | 1 << cp.COUNT_SHIFT)),
                tf.tensor_scatter_nd_update(ends, place, special_ends),
                tf.tensor_scatter_nd_update(no_ids, place, tf.gather(self._specials.token_ids, which)),
            )

        return tf.cond(tf.size(places) > 0, keep, lambda: (entries, ends, no_ids))

    def _sort_marks(
        self, points: tf.Tensor, line_splits: tf.Tensor, entries: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Put each run of combining marks in the order of their classes, if any of them stays."""
        if not self._marks.shape[0]:
            return points, entries

        def sort() -> tuple[tf.Tensor, tf.Tensor]:
            places = tf.where((entries & cp.KIND_MASK) != cp.CLEANED)
            candidates = tf.gather(points, places[:, 0])
            nearest = tf.minimum(tf.searchsorted(self._marks, candidates), self._marks.shape[0] - 1)
            is_mark = tf.gather(self._marks, nearest) == candidates
            classes = tf.where(is_mark, tf.gather(self._mark_classes, nearest), 0)
            lines = tf.searchsorted(line_splits, tf.cast(places[:, 0], tf.int32), "right")
            runs = tf.cumsum(tf.cast(classes == 0, tf.int32)) + lines
            order = tf.argsort(tf.cast(runs, tf.int64) * 256 + tf.cast(classes, tf.int64), stable=True)
            sources = tf.gather(places[:, 0], order)
            return (
                tf.tensor_scatter_nd_update(points, places, tf.gather(points, sources)),
                tf.tensor_scatter_nd_update(entries, places, tf.gather(entries, sources)),
            )

        return tf.cond(tf.reduce_any((entries & cp.IS_KEPT_MARK) != 0), sort, lambda: (points, entries))

    def _replace(
        self, points: tf.Tensor, counts: tf.Tensor, values: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The normalised characters [kept], and the character of the text that each one comes from."""

        def one_for_one() -> tuple[tf.Tensor, tf.Tensor]:
            owners = tf.cast(tf.where(counts > 0)[:, 0], tf.int32)
            return tf.gather(points + values, owners), owners

        def expand() -> tuple[tf.Tensor, tf.Tensor]:
            owners = tf.repeat(tf.range(tf.size(points)), counts)
            nth = tf.range(tf.size(owners)) - tf.gather(tf.cumsum(counts, exclusive=True), owners)
            value = tf.gather(values, owners)
            is_several = tf.gather(counts, owners) > 1
            pooled = tf.gather(self._pool, tf.where(is_several, value + nth, 0))
            return tf.where(is_several, pooled, tf.gather(points, owners) + value), owners

        if not self._pool.shape[0]:
            return one_for_one()
        return tf.cond(tf.reduce_any(counts > 1), expand, one_for_one)


def _tokens(token_ids: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, splits: tf.Tensor) -> Tokens:
    splits = tf.cast(splits, tf.int32)
    starts, ends = tf.cast(starts, tf.int32), tf.cast(ends, tf.int32)
    return Tokens(token_ids, starts, ends, splits[:-1], splits[1:] - splits[:-1])


def _shift(values: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(values, bits)


def _utf8_size(points: tf.Tensor) -> tf.Tensor:
    """Bytes of each code point in UTF-8."""
    sizes = [tf.cast(points >= first, tf.int32) for first in (0x80, 0x800, 0x10000)]
    return 1 + sizes[0] + sizes[1] + sizes[2]
