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

from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from tf_mlm.arguments import tensor_argument
from tf_mlm.errors import ConfigError
from tf_mlm.text import code_points as cp
from tf_mlm.text.added_tokens import Found
from tf_mlm.text.found_tokens import STAND_IN, covered, finder, normalizer_of, one_character_each, spans
from tf_mlm.text.normalization import Normalization, counts_of
from tf_mlm.text.selection import rows_where, selected
from tf_mlm.text.tokens import Tokens, utf8_size
from tf_mlm.text.vocabulary import Vocabulary, unused_name

_PLAIN = r"[\t\n\r -~]*"
_PREFIX = "##"


class WordPieceTokenizer(tf.Module):
    """BERT's tokenizer for one vocabulary, cased or uncased as its configuration says.

    Raises:
        ConfigError: at construction, if tf.text cannot hold the vocabulary (a token of more than 256 bytes),
            or for a combination of added tokens that `AddedTokenFinder` refuses.

    Example:
        >>> from tf_mlm.text.wordpiece import WordPieceTokenizer
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
        self._normalization = Normalization(config)
        self._literal, self._literal_ids = finder(vocabulary, None)
        self._normalized, self._normalized_ids = finder(vocabulary, normalizer_of(config))

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
        plain_rows = rows_where(is_plain)
        other_rows = rows_where(~is_plain)
        plain = self._tokens_of_plain(tf.gather(text, plain_rows))
        other = tf.cond(
            tf.size(other_rows) > 0,
            lambda: self._tokens_of_any(tf.gather(text, other_rows)),
            lambda: Tokens(*[tf.zeros([0], tf.int32)] * 5),
        )
        behind = tf.size(plain.token_ids)
        rows = [plain_rows, other_rows]
        return Tokens(
            token_ids=tf.concat([plain.token_ids, other.token_ids], 0),
            starts=tf.concat([plain.starts, other.starts], 0),
            ends=tf.concat([plain.ends, other.ends], 0),
            firsts=tf.dynamic_stitch(rows, [plain.firsts, other.firsts + behind]),
            counts=tf.dynamic_stitch(rows, [plain.counts, other.counts]),
        )

    def _is_plain(self, text: tf.Tensor) -> tf.Tensor:
        is_plain = tf.strings.regex_full_match(text, _PLAIN)
        for tokens, searched in ((self._literal, text), (self._normalized, self._lower_case(text))):
            if tokens is not None and tokens.ascii_pattern is not None:
                is_plain &= ~tf.strings.regex_full_match(searched, tokens.ascii_pattern)
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
        ends = starts + utf8_size(points)
        line_splits = tf.cast(characters.row_splits, tf.int32)

        entries = self._normalization.entries(points)
        given_ids, last_characters = tf.fill([tf.size(points)], -1), tf.range(tf.size(points))
        if self._literal is not None:
            found = self._literal.find(points, line_splits)
            points, entries = one_character_each(found, points, entries)
            given_ids, last_characters = spans(found, self._literal_ids, tf.size(points))
        points, entries = self._normalization.sort_marks(points, line_splits, entries)
        normalized = self._normalize if self._normalized is None else self._normalize_and_find
        kept = normalized(points, line_splits, entries, given_ids, last_characters)
        token_ids, firsts, lasts, splits = self._word_pieces(kept)
        return _tokens(
            token_ids,
            tf.gather(starts, tf.gather(kept.owners, firsts)),
            tf.gather(ends, tf.gather(kept.last_owners, lasts)),
            splits,
        )

    def _normalize(
        self,
        points: tf.Tensor,
        line_splits: tf.Tensor,
        entries: tf.Tensor,
        given_ids: tf.Tensor,
        last_characters: tf.Tensor,
    ) -> _Kept:
        """What normalisation leaves, where no token is looked for in the normalised text."""
        kinds = entries & cp.KIND_MASK
        kept, owners = self._normalization.replace(points, entries)
        # Which word each character belongs to: words end at spaces and around lone characters.
        is_break = (kinds >= cp.SPACE) | tf.concat([[False], kinds >= cp.ALONE], 0)[:-1]
        return _Kept(
            characters=kept,
            owners=owners,
            last_owners=tf.gather(last_characters, owners),
            given_ids=tf.gather(given_ids, owners),
            words=tf.gather(tf.cumsum(tf.cast(is_break, tf.int32)), owners),
            line_splits=tf.gather(tf.concat([[0], tf.cumsum(counts_of(entries))], 0), line_splits),
        )

    def _normalize_and_find(
        self,
        points: tf.Tensor,
        line_splits: tf.Tensor,
        entries: tf.Tensor,
        given_ids: tf.Tensor,
        last_characters: tf.Tensor,
    ) -> _Kept:
        """Tokens found in the normalised text, spaces included, each made one lone character of it."""
        assert self._normalized is not None
        stream, owners, blank, begins = self._normalization.with_spaces(points, entries)
        stream_splits = tf.gather(begins, line_splits)
        given_ids, last_owners = tf.gather(given_ids, owners), tf.gather(last_characters, owners)
        is_given = given_ids >= 0
        is_start = is_given | tf.concat([[False], is_given], 0)[: tf.size(stream)]
        is_start = tf.tensor_scatter_nd_update(
            tf.concat([is_start, [True]], 0),
            stream_splits[:, tf.newaxis],
            tf.ones_like(stream_splits, tf.bool),
        )
        segment_splits = rows_where(is_start)
        found = self._normalized.find(stream, segment_splits)
        is_new = ~tf.gather(is_given, found.starts)  # the stand-in of a token found before is not searched
        found = Found(*selected(is_new, *found))

        new_ids, lasts = spans(found, self._normalized_ids, tf.size(stream))
        given_ids = tf.where(new_ids >= 0, new_ids, given_ids)
        is_lone = (new_ids >= 0) | (tf.gather((entries & cp.KIND_MASK) >= cp.ALONE, owners) & ~blank)
        is_break = is_lone | blank | tf.concat([[False], is_lone], 0)[:-1]
        words = tf.cumsum(tf.cast(is_break, tf.int32))
        is_kept = (new_ids >= 0) | ~(covered(found, tf.size(stream)) | blank)
        kept_before = tf.concat([[0], tf.cumsum(tf.cast(is_kept, tf.int32))], 0)
        stream = tf.where(new_ids >= 0, STAND_IN, stream)
        stream, owners, last_owners, given_ids, words = selected(
            is_kept, stream, owners, tf.gather(last_owners, lasts), given_ids, words
        )
        line_splits = tf.gather(kept_before, stream_splits)
        return _Kept(stream, owners, last_owners, given_ids, words, line_splits)

    def _word_pieces(self, kept: _Kept) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """[tokens] ids, first and last character [kept] of each; [lines + 1] where each line begins."""
        count = tf.size(kept.characters)
        is_first = kept.words[1:] != kept.words[:-1]
        is_first = tf.concat([[True], is_first, [True]], 0)[: count + 1]
        # Words also end with their line. The last entry stands for the end of all of them.
        is_first = tf.tensor_scatter_nd_update(
            is_first, kept.line_splits[:, tf.newaxis], tf.ones_like(kept.line_splits, tf.bool)
        )
        word_splits = rows_where(is_first)
        word_firsts, word_lasts = word_splits[:-1], word_splits[1:] - 1

        is_long = word_lasts - word_firsts >= self.vocabulary.config.max_input_chars_per_word
        word_ids = tf.gather(kept.given_ids, word_firsts)  # −1: for WordPiece to find out
        word_ids = tf.where(is_long, self.vocabulary.unk_id, word_ids)
        words = tf.strings.unicode_encode(
            tf.RaggedTensor.from_row_splits(kept.characters, word_splits, validate=False), "UTF-8"
        )
        # One character makes exactly one token, whose id is then put right.
        words = tf.cond(tf.reduce_any(is_long), lambda: tf.where(is_long, "-", words), lambda: words)

        pieces, piece_starts, piece_ends = self._wordpiece_of_words.tokenize_with_offsets(words)
        word_of = tf.cast(pieces.value_rowids(), tf.int32)  # [tokens], as are all below
        given = tf.gather(word_ids, word_of)
        is_given = given >= 0
        sizes = utf8_size(kept.characters)
        byte_firsts = tf.cumsum(sizes, exclusive=True)
        byte_owners = tf.repeat(tf.range(count), sizes)  # which character each byte of a word is of
        word_bytes = tf.gather(byte_firsts, tf.gather(word_firsts, word_of))
        firsts = tf.gather(byte_owners, word_bytes + tf.cast(piece_starts.flat_values, tf.int32))
        lasts = tf.gather(byte_owners, word_bytes + tf.cast(piece_ends.flat_values, tf.int32) - 1)
        return (
            tf.where(is_given, given, pieces.flat_values),
            firsts,
            tf.where(is_given, tf.gather(word_lasts, word_of), lasts),
            tf.gather(pieces.row_splits, tf.searchsorted(word_firsts, kept.line_splits)),
        )


class _Kept(NamedTuple):
    """What normalisation leaves of some texts, spaces left out; int32 [kept] each, but for the last.

    Attributes:
        characters: code points; a lone stand-in where there is a token that was found.
        owners, last_owners: the first and the last character of the texts that each comes from.
        given_ids: the id of the token that was found, or -1.
        words: a number for the word that each belongs to.
        line_splits: [texts + 1], where each text begins.
    """

    characters: tf.Tensor
    owners: tf.Tensor
    last_owners: tf.Tensor
    given_ids: tf.Tensor
    words: tf.Tensor
    line_splits: tf.Tensor


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


def _tokens(token_ids: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, splits: tf.Tensor) -> Tokens:
    splits = tf.cast(splits, tf.int32)
    starts, ends = tf.cast(starts, tf.int32), tf.cast(ends, tf.int32)
    return Tokens(token_ids, starts, ends, splits[:-1], splits[1:] - splits[:-1])
