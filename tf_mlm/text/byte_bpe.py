"""Byte-level BPE in the graph (GPT-2, RoBERTa): words, merges over bytes, and byte offsets into the text.

Ids and offsets equal those of Hugging Face's `tokenizers` library. A text goes through

* tokens found in it as they are spelt (`tf_mlm.text.segments`),
* one regular expression, GPT-2's, which cuts words; its look-ahead, of which RE2 knows nothing, is a mark put
  before the last of several blanks,
* one look-up of whole words in a hash table: most words of a text are tokens themselves,
* for the others, each once, SentencePiece's BPE over characters that stand for bytes.

SentencePiece merges what is made first by the list of merges, `tokenizers` the listed pairs: the same where
every token that a merge makes is cut into itself alone, which is checked.

References:
    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2 (byte-level BPE).
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from tf_mlm.arguments import tensor_argument
from tf_mlm.decoder import byte_characters
from tf_mlm.errors import ConfigError
from tf_mlm.text.bpe_merges import check_merges, ranks_of
from tf_mlm.text.byte_offsets import BLANKS, ByteOffsets
from tf_mlm.text.composition import one_after_another
from tf_mlm.text.found_tokens import finder, normalizer_of
from tf_mlm.text.segments import Segments, cut, whole
from tf_mlm.text.selection import rows_where
from tf_mlm.text.sentencepiece_model import Kind, ModelType, Piece, model_proto
from tf_mlm.text.tokens import Tokens, utf8_size
from tf_mlm.text.vocabulary import Vocabulary

_LAST_BLANK = f"([{BLANKS}])([{BLANKS}][^{BLANKS}])"
_WORDS = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{BLANKS}\p{{L}}\p{{N}}]+|[{BLANKS}]+"
_MARK = b"\xff"  # no UTF-8 text holds it


class ByteBpeTokenizer(tf.Module):
    """GPT-2's tokenizer for one vocabulary and its merges.

    Args:
        vocabulary: the tokens, in the characters that stand for bytes, and their merges; the configuration
            says what is found as it is spelt, whether a blank is put before texts and whether offsets leave
            blanks out.

    Raises:
        ConfigError: a byte or one side of a merge is no token, or what a merge makes is cut otherwise.
    """

    def __init__(self, vocabulary: Vocabulary, name: str | None = None) -> None:
        super().__init__(name=name)
        self.vocabulary = vocabulary
        merges, config = vocabulary.merges, vocabulary.config
        self._literal, self._normal = (
            [(found, ids)] if found is not None else []
            for found, ids in (finder(vocabulary, None), finder(vocabulary, normalizer_of(config)))
        )
        bytes_of = _bytes_of_tokens(vocabulary, merges)
        ids, pieces = _pieces(bytes_of, merges, vocabulary)
        self._sentencepiece = tf_text.SentencepieceTokenizer(
            model_proto(pieces, ModelType.BPE), out_type=tf.int32
        )
        self._ids = tf.constant(ids, tf.int32)
        self._words = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(list(bytes_of.values()), tf.string), tf.constant(list(bytes_of), tf.int32)
            ),
            -1,
        )
        self._offsets = ByteOffsets(bytes_of, vocabulary)

    def __call__(self, text: tf.Tensor) -> Tokens:
        """Tokens of the texts.

        Args:
            text: string [batch]. Bytes that are not UTF-8 count as U+FFFD.
        """
        text = tensor_argument(text, "text", "strings", "[batch]")
        segments = whole(tf.strings.unicode_transcode(text, "UTF-8", "UTF-8"))
        is_same = tf.reduce_all(segments.texts == text)
        for found, ids in self._literal:
            segments = cut(segments, found, ids)
        if self.vocabulary.config.nfc:
            is_same &= tf.reduce_all(tf_text.normalize_utf8(segments.texts, "NFC") == segments.texts)
        no_places = tf.zeros([1], tf.int32)
        segments, begins, ends = tf.cond(
            is_same, lambda: (segments, no_places, no_places), lambda: self._normalized(text, segments)
        )
        for found, ids in self._normal:
            segments = cut(segments, found, ids)
        tokens = self._tokens_of(segments)

        def in_text() -> tuple[tf.Tensor, tf.Tensor]:
            is_empty = tokens.starts == tokens.ends
            starts = tf.gather(begins, tokens.starts)
            return starts, tf.where(is_empty, starts, tf.gather(ends, tf.maximum(tokens.ends - 1, 0)))

        starts, last = tf.cond(is_same, lambda: (tokens.starts, tokens.ends), in_text)
        return tokens._replace(starts=starts, ends=last)

    def _normalized(self, text: tf.Tensor, segments: Segments) -> tuple[Segments, tf.Tensor, tf.Tensor]:
        """Parts whose characters differ from those of the text.

        Returns:
            The parts, all one behind the other, with a place between them; and for each place the first byte
            of the character of the text that stands there, and the byte behind it.
        """
        points, begins = tf.strings.unicode_decode_with_offsets(text, "UTF-8", errors="replace")
        one = tf.ones([tf.size(text), 1], tf.int32)  # behind each text, one character more stands for its end
        begins = tf.concat([tf.cast(begins, tf.int32), tf.strings.length(text)[:, tf.newaxis]], 1)
        sizes = tf.concat(
            [tf.RaggedTensor.from_row_splits(utf8_size(points.flat_values), points.row_splits), one], 1
        )
        characters = tf.repeat(tf.range(tf.size(sizes.flat_values)), sizes.flat_values)  # of each byte
        byte_starts = tf.gather(
            tf.cumsum(sizes.flat_values, exclusive=True), tf.cast(begins.row_starts(), tf.int32)
        )
        behind = tf.concat([begins.flat_values[1:], begins.flat_values[-1:]], 0)
        is_end = tf.scatter_nd(
            tf.cast(begins.row_limits()[:, tf.newaxis] - 1, tf.int32), one[:, 0], [tf.size(behind)]
        )
        behind = tf.where(is_end > 0, begins.flat_values, behind)

        texts, is_text = segments.texts, segments.token_ids < 0
        if self.vocabulary.config.nfc:
            normal, source = tf_text.normalize_utf8_with_offsets_map(tf.where(is_text, texts, ""), "NFC")
            texts = tf.where(is_text, normal, texts)
        counts = tf.strings.length(texts) + 1
        letters, places = tf.strings.unicode_decode_with_offsets(texts, "UTF-8")
        places = tf.concat([places, tf.cast(counts, tf.int64)[:, tf.newaxis] - 1], 1)
        sizes = tf.concat([utf8_size(letters), tf.ones_like(counts)[:, tf.newaxis]], 1).flat_values
        owners = places.value_rowids()
        in_part = tf.cast(places.flat_values, tf.int32)
        if self.vocabulary.config.nfc:
            asked = places * tf.cast(is_text, tf.int64)[:, tf.newaxis]
            found = tf.cast(tf_text.find_source_offsets(source, asked).flat_values, tf.int32)
            in_part = tf.where(tf.gather(is_text, owners), found, in_part)
        parts = segments.splits[1:] - segments.splits[:-1]
        base = tf.repeat(byte_starts, parts) + segments.starts
        from_character = one_after_another(tf.gather(characters, in_part + tf.gather(base, owners)), owners)
        from_character = tf.repeat(from_character, sizes)  # of each byte, and of the end of each part
        segments = segments._replace(texts=texts, starts=tf.cumsum(counts, exclusive=True))
        return segments, tf.gather(begins.flat_values, from_character), tf.gather(behind, from_character)

    def _tokens_of(self, segments: Segments) -> Tokens:
        is_text = segments.token_ids < 0
        texts = tf.where(is_text, segments.texts, "")
        parts = segments.splits[1:] - segments.splits[:-1]
        begins = tf.repeat(tf.gather(segments.starts, segments.splits[:-1]), parts)  # of each part's text
        added = tf.zeros_like(segments.starts)  # a blank that the text has not
        if self.vocabulary.config.add_prefix_space:
            needs = is_text & (texts != "") & (tf.strings.substr(texts, 0, 1) != " ")
            texts = tf.where(needs, tf.strings.join([" ", texts]), texts)
            added = tf.cast(needs, tf.int32)
        pieces = self._pieces_of(texts)  # ragged [segments, (tokens)]
        starts, ends = self._offsets.of_pieces(pieces, segments, begins, added)
        # A token found takes the place of the tokens of its segment, of which there are none.
        counts = tf.cast(pieces.row_lengths(), tf.int32)
        splits = tf.concat([[0], tf.cumsum(tf.where(is_text, counts, 1))], 0)
        found = rows_where(~is_text)
        found_starts, found_ends = self._offsets.of_found(found, segments, begins)
        owners = tf.cast(pieces.value_rowids(), tf.int32)
        before = tf.gather(tf.cumsum(counts, exclusive=True), owners)
        places = tf.gather(splits, owners) + tf.range(tf.size(owners)) - before
        indices = tf.concat([places, tf.gather(splits, found)], 0)[:, tf.newaxis]
        total = tf.reshape(splits[-1], [1])

        def placed(of_pieces: tf.Tensor, of_found: tf.Tensor) -> tf.Tensor:
            return tf.scatter_nd(indices, tf.concat([of_pieces, of_found], 0), total)

        text_firsts = tf.gather(splits, segments.splits)
        return Tokens(
            token_ids=placed(pieces.flat_values, tf.gather(segments.token_ids, found)),
            starts=placed(starts, found_starts),
            ends=placed(ends, found_ends),
            firsts=text_firsts[:-1],
            counts=text_firsts[1:] - text_firsts[:-1],
        )

    def _pieces_of(self, texts: tf.Tensor) -> tf.RaggedTensor:
        marked = tf.strings.regex_replace(texts, _LAST_BLANK, b"\\1" + _MARK + b"\\2")
        marked = tf.strings.regex_replace(marked, _WORDS, b"\\0" + _MARK)
        words = tf.strings.split(marked, sep=_MARK)
        flat = words.flat_values
        ids = self._words.lookup(flat)
        missing = tf.where((ids < 0) & (flat != ""))[:, 0]
        unique, which = tf.unique(tf.gather(flat, missing), out_idx=tf.int64)
        found = self._sentencepiece.tokenize(tf.strings.unicode_transcode(unique, "ISO-8859-1", "UTF-8"))
        count = tf.size(flat, tf.int64)
        begins = tf.range(count)
        limits = begins + tf.cast(ids >= 0, tf.int64)
        splits = tf.cast(found.row_splits, tf.int64) + count
        begins = tf.tensor_scatter_nd_update(begins, missing[:, tf.newaxis], tf.gather(splits, which))
        limits = tf.tensor_scatter_nd_update(limits, missing[:, tf.newaxis], tf.gather(splits, which + 1))
        index = tf.ragged.range(begins, limits)
        values = tf.gather(tf.concat([ids, tf.gather(self._ids, found.flat_values)], 0), index.flat_values)
        row_splits = tf.gather(index.row_splits, tf.cast(words.row_splits, tf.int64))
        return tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)


def _bytes_of_tokens(vocabulary: Vocabulary, merges: Sequence[tuple[str, str]]) -> dict[int, bytes]:
    """The bytes of each token that a text can be cut into, by its id."""
    characters = byte_characters()
    ids = {token: index for index, token in enumerate(vocabulary.tokens[: vocabulary.pieces])}
    if missing := sorted(set(characters) - set(ids)):
        raise ConfigError(
            f"A byte-level vocabulary must have a token for each of the 256 bytes; it lacks {len(missing)}, "
            f"{missing[0]!r} among them. Restore the vocabulary that belongs to the merges."
        )
    made = dict.fromkeys([*characters, *check_merges(ids, merges)])
    return {ids[token]: bytes(characters[character] for character in token) for token in made}


def _pieces(
    bytes_of: dict[int, bytes], merges: Sequence[tuple[str, str]], vocabulary: Vocabulary
) -> tuple[list[int], list[Piece]]:
    """Ids and pieces of the SentencePiece model: bytes as Latin-1 characters, earlier merges likelier."""
    ranks = ranks_of(merges)
    ids, pieces = [-1], [Piece("\u0100unknown", kind=Kind.UNKNOWN)]
    for index, token in bytes_of.items():
        ids.append(index)
        rank = ranks.get(vocabulary.tokens[index], 0)
        pieces.append(Piece(token.decode("latin-1"), -float(rank)))
    return ids, pieces
