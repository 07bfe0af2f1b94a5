"""BERT's tokenizer in the graph: normalisation, words, WordPiece, and byte offsets into the original text.

Ids and offsets equal those of Hugging Face's `BertTokenizerFast` (the `tokenizers` library), special and
other added tokens spelt in the text included. Two paths lead there:

* **Plain lines** (printable ASCII, tabs and line ends, no added token; most of English text): a byte is a
  character, lower-casing keeps its place, so `tf_text.FastWordpieceTokenizer` on the lower-cased line gives
  ids and offsets at once.
* **Any other line** is decoded to code points, which `tf_mlm.text.code_points` normalises exactly as the
  library does (`tf_text`'s own normaliser differs: other version of Unicode, case folding). Words are cut
  from the result, and each token's offsets are traced back through it. Added tokens are looked for twice, in
  the text and in what normalisation makes of it, as their flags say.

Everything is vectorised over all characters of the batch, linear in their number, and made of operations
that a stock TF-Serving registers. Bytes that are not UTF-8 count as U+FFFD, which normalisation drops.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_text as tf_text

from tf_mlm.arguments import tensor_argument
from tf_mlm.errors import ConfigError
from tf_mlm.text import code_points as cp
from tf_mlm.text.added_tokens import AddedTokenFinder, Found
from tf_mlm.text.tokens import Tokens
from tf_mlm.text.vocabulary import Vocabulary, unused_name

_PLAIN = r"[\t\n\r -~]*"
_PREFIX = "##"
# What an added token is until its id is put in: one lone character makes exactly one token.
_STAND_IN = ord("-")


class WordPieceTokenizer(tf.Module):
    """BERT's tokenizer for one vocabulary, cased or uncased as its configuration says.

    Raises:
        ConfigError: at construction, if tf.text cannot hold the vocabulary (a token of more than 256 bytes),
            or for a combination of added tokens that `AddedTokenFinder` refuses.

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

        self._literal, self._literal_ids = _finder(vocabulary, None)
        self._normalized, self._normalized_ids = _finder(vocabulary, cp.normalizer(config))

        longest = config.max_input_chars_per_word
        pieces = _pieces(vocabulary)

        def wordpiece(max_bytes: int, single_words: bool) -> tf_text.FastWordpieceTokenizer:
            try:
                return tf_text.FastWordpieceTokenizer(
                    vocab=pieces,
                    suffix_indicator=_PREFIX,
                    max_bytes_per_word=min(max_bytes, 2**31 - 1),
                    token_out_type=tf.int32,
                    unknown_token=config.unk_token,
                    no_pretokenization=single_words,
                )
            except RuntimeError as error:
                raise ConfigError(
                    f"tf.text cannot build a WordPiece model of this vocabulary: {error}"
                ) from error

        self._wordpiece_of_lines = wordpiece(longest, single_words=False)
        # A character takes at most four bytes; longer words never get that far.
        self._wordpiece_of_words = wordpiece(4 * longest, single_words=True)

    def __call__(self, text: tf.Tensor) -> Tokens:
        """Tokens of the texts.

        Args:
            text: string [batch].
        """
        text = tensor_argument(text, "text", "strings", "[batch]")
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
        is_plain = tf.strings.regex_full_match(text, _PLAIN)
        for finder, searched in ((self._literal, text), (self._normalized, self._lower_case(text))):
            if finder is not None and finder.ascii_pattern is not None:
                is_plain &= ~tf.strings.regex_full_match(searched, finder.ascii_pattern)
        return is_plain

    def _tokens_of_plain(self, text: tf.Tensor) -> Tokens:
        token_ids, starts, ends = self._wordpiece_of_lines.tokenize_with_offsets(self._lower_case(text))
        return _tokens(token_ids.flat_values, starts.flat_values, ends.flat_values, token_ids.row_splits)

    def _lower_case(self, text: tf.Tensor) -> tf.Tensor:
        """ASCII texts in the case that words are looked up in."""
        return tf.strings.lower(text) if self.vocabulary.config.do_lower_case else text

    def _tokens_of_any(self, text: tf.Tensor) -> Tokens:
        characters, starts = tf.strings.unicode_decode_with_offsets(text, "UTF-8", errors="replace")
        points = characters.flat_values  # [characters], as are most tensors below
        starts = tf.cast(starts.flat_values, tf.int32)
        ends = starts + _utf8_size(points)
        line_splits = tf.cast(characters.row_splits, tf.int32)

        pages = tf.gather(self._pages, _shift(points, cp.PAGE_BITS))
        entries = tf.gather(self._entries, pages * cp.PAGE_SIZE + (points & (cp.PAGE_SIZE - 1)))
        given_ids, last_characters = tf.fill([tf.size(points)], -1), tf.range(tf.size(points))
        if self._literal is not None:
            found = self._literal.find(points, line_splits)
            points, entries = _one_character_each(found, points, entries)
            given_ids, last_characters = _spans(found, self._literal_ids, tf.size(points))
        points, entries = self._sort_marks(points, line_splits, entries)

        # From here on [kept] characters: those that normalisation leaves, each with its owner in the text.
        counts = _shift(entries, cp.COUNT_SHIFT) & cp.COUNT_MASK
        kinds = entries & cp.KIND_MASK
        if self._normalized is None:
            kept, owners = self._replace(points, counts, _shift(entries, cp.VALUE_SHIFT))
            last_owners = tf.gather(last_characters, owners)
            given_ids = tf.gather(given_ids, owners)
            # Which word each character belongs to: words end at spaces and around lone characters.
            is_break = (kinds >= cp.SPACE) | tf.concat([[False], kinds >= cp.ALONE], 0)[:-1]
            words_of = tf.gather(tf.cumsum(tf.cast(is_break, tf.int32)), owners)
            kept_splits = tf.gather(tf.concat([[0], tf.cumsum(counts)], 0), line_splits)
        else:
            kept, owners, last_owners, given_ids, words_of, kept_splits = self._with_normalized_tokens(
                points, line_splits, entries, given_ids, last_characters
            )
        is_first = words_of[1:] != words_of[:-1]
        is_first = tf.concat([[True], is_first, [True]], 0)[: tf.size(kept) + 1]
        # Words also end with their line. The last entry stands for the end of all of them.
        is_first = tf.tensor_scatter_nd_update(
            is_first, kept_splits[:, tf.newaxis], tf.ones_like(kept_splits, tf.bool)
        )
        word_splits = tf.cast(tf.where(is_first)[:, 0], tf.int32)
        word_firsts, word_lasts = word_splits[:-1], word_splits[1:] - 1

        is_long = word_lasts - word_firsts >= self.vocabulary.config.max_input_chars_per_word
        word_ids = tf.gather(given_ids, word_firsts)  # −1: for WordPiece to find out
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
            tf.gather(ends, tf.gather(last_owners, last)),
            token_splits,
        )

    def _with_normalized_tokens(
        self,
        points: tf.Tensor,
        line_splits: tf.Tensor,
        entries: tf.Tensor,
        given_ids: tf.Tensor,
        last_characters: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        """Tokens found in the normalised text, spaces included, each made one lone character of it.

        Returns:
            [kept] the normalised characters without spaces, the first and the last character of the text that
            each comes from, the id given to it or -1, and a number for its word; and where each line begins.
        """
        assert self._normalized is not None
        kinds = entries & cp.KIND_MASK
        counts = _shift(entries, cp.COUNT_SHIFT) & cp.COUNT_MASK
        is_space, is_ideograph = kinds == cp.SPACE, kinds == cp.IDEOGRAPH
        sizes = counts + tf.cast(is_space, tf.int32) + 2 * tf.cast(is_ideograph, tf.int32)

        # [stream] characters: an ideograph comes with a space on either side.
        owners = tf.repeat(tf.range(tf.size(points)), sizes)
        begins = tf.concat([[0], tf.cumsum(sizes)], 0)
        nth = tf.range(tf.size(owners)) - tf.gather(begins, owners)
        values = tf.gather(_shift(entries, cp.VALUE_SHIFT), owners)
        several = tf.gather(counts, owners) > 1
        stream = tf.gather(points, owners) + values
        if self._pool.shape[0]:
            stream = tf.where(several, tf.gather(self._pool, tf.where(several, values + nth, 0)), stream)
        blank = tf.gather(is_space, owners) | (tf.gather(is_ideograph, owners) & (nth != 1))
        as_space = is_ideograph | self.vocabulary.config.clean_text  # cleaning makes every blank a space
        stream = tf.where(
            blank, tf.where(tf.gather(as_space, owners), ord(" "), tf.gather(points, owners)), stream
        )

        stream_splits = tf.gather(begins, line_splits)
        given_ids, last_owners = tf.gather(given_ids, owners), tf.gather(last_characters, owners)
        is_given = given_ids >= 0
        is_start = is_given | tf.concat([[False], is_given], 0)[: tf.size(stream)]
        is_start = tf.tensor_scatter_nd_update(
            tf.concat([is_start, [True]], 0),
            stream_splits[:, tf.newaxis],
            tf.ones_like(stream_splits, tf.bool),
        )
        segment_splits = tf.cast(tf.where(is_start)[:, 0], tf.int32)
        found = self._normalized.find(stream, segment_splits)
        is_new = ~tf.gather(is_given, found.starts)  # the stand-in of a token found before is not searched
        found = Found(*(tf.boolean_mask(tensor, is_new) for tensor in found))

        new_ids, lasts = _spans(found, self._normalized_ids, tf.size(stream))
        covered = _covered(found, tf.size(stream))
        given_ids = tf.where(new_ids >= 0, new_ids, given_ids)
        last_owners = tf.gather(last_owners, lasts)
        is_lone = (new_ids >= 0) | (tf.gather(kinds >= cp.ALONE, owners) & ~blank)
        is_break = is_lone | blank | tf.concat([[False], is_lone], 0)[:-1]
        words_of = tf.cumsum(tf.cast(is_break, tf.int32))
        is_kept = (new_ids >= 0) | ~(covered | blank)
        kept_before = tf.concat([[0], tf.cumsum(tf.cast(is_kept, tf.int32))], 0)
        stream = tf.where(new_ids >= 0, _STAND_IN, stream)
        return (
            *(
                tf.boolean_mask(tensor, is_kept)
                for tensor in (stream, owners, last_owners, given_ids, words_of)
            ),
            tf.gather(kept_before, stream_splits),
        )

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


def _finder(vocabulary: Vocabulary, normalizer: Any) -> tuple[AddedTokenFinder | None, tf.Tensor | None]:
    """What finds the tokens that are looked for in the text itself or the normalised one, and their ids."""
    tokens = [
        token for token in vocabulary.config.found_tokens if token.normalized == (normalizer is not None)
    ]
    spellings = [normalizer.normalize_str(token.content) if normalizer else token.content for token in tokens]
    pairs = [(token, spelling) for token, spelling in zip(tokens, spellings, strict=True) if spelling]
    if not pairs:
        return None, None
    ids = [vocabulary.id_of(token.content) for token, _ in pairs]
    return AddedTokenFinder(*zip(*pairs, strict=True)), tf.constant(ids, tf.int32)


def _pieces(vocabulary: Vocabulary) -> list[str]:
    """The tokens words are cut into, with tf.text's prefix; other ids get names that no word contains."""
    config = vocabulary.config
    prefix = config.continuing_subword_prefix
    longest = len(prefix) + config.max_input_chars_per_word
    pieces = []
    for index, token in enumerate(vocabulary.tokens):
        is_piece = index < vocabulary.pieces and len(token) <= longest
        if token.startswith(prefix) and token != prefix:
            piece = _PREFIX + token.removeprefix(prefix)
        else:
            piece = token
            # It looks like a continuation, and begins no word, as # is a word by itself.
            is_piece &= not token.startswith(_PREFIX) or token == _PREFIX
        if token == config.unk_token:
            piece = token
        elif not is_piece:
            piece = unused_name(index, vocabulary)
        pieces.append(piece)
    return pieces


def _covered(found: Found, size: tf.Tensor) -> tf.Tensor:
    """bool [size], which characters belong to a token that was found."""
    one = tf.ones_like(found.starts)
    places = tf.concat([found.starts, found.ends], 0)[:, tf.newaxis]
    return tf.cumsum(tf.scatter_nd(places, tf.concat([one, -one], 0), [size + 1]))[:-1] > 0


def _one_character_each(found: Found, points: tf.Tensor, entries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Code points and their entries in which each token that was found is one lone character."""

    def replace() -> tuple[tf.Tensor, tf.Tensor]:
        starts, one = found.starts[:, tf.newaxis], tf.ones_like(found.starts)
        cleaned = tf.where(_covered(found, tf.size(points)), cp.CLEANED, entries)
        return (
            tf.tensor_scatter_nd_update(points, starts, one * _STAND_IN),
            tf.tensor_scatter_nd_update(cleaned, starts, one * (cp.ALONE | 1 << cp.COUNT_SHIFT)),
        )

    return tf.cond(tf.size(found.starts) > 0, replace, lambda: (points, entries))


def _spans(found: Found, ids: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """[size] the id of the token that begins at each character or -1, and the last character it spans."""
    starts = found.starts[:, tf.newaxis]
    return (
        tf.tensor_scatter_nd_update(tf.fill([size], -1), starts, tf.gather(ids, found.which)),
        tf.tensor_scatter_nd_update(tf.range(size), starts, found.ends - 1),
    )


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
