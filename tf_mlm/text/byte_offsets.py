"""Where byte-level tokens stand in texts: blanks that were put in or left out, and whole characters."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tf_mlm.text.segments import Segments
from tf_mlm.text.vocabulary import Vocabulary

# What Unicode counts as white space, for RE2, whose own class has less.
BLANKS = r"\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"


class ByteOffsets:
    """Offsets of a vocabulary's tokens in bytes; `begins` is where the text of each segment begins.

    Args:
        bytes_of: the bytes of each token that a text can be cut into, by its id.
        vocabulary: the configuration says whether a blank is put before texts and whether offsets leave
            blanks out.
    """

    def __init__(self, bytes_of: Mapping[int, bytes], vocabulary: Vocabulary) -> None:
        config = vocabulary.config
        self._add_prefix_space, self._trim_offsets = config.add_prefix_space, config.trim_offsets
        sizes, blanks_before, blanks_behind = ([0] * vocabulary.size for _ in range(3))
        for index, token in bytes_of.items():
            sizes[index] = len(token)
            blanks_before[index] = len(token) - len(token.lstrip(b" "))
            blanks_behind[index] = len(token) - len(token.rstrip(b" "))
        self._sizes = tf.constant(sizes, tf.int32)
        self._blanks_before = tf.constant(blanks_before, tf.int32)
        self._blanks_behind = tf.constant(blanks_behind, tf.int32)

    def of_pieces(
        self, pieces: tf.RaggedTensor, segments: Segments, begins: tf.Tensor, added: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Where the tokens that segments are cut into begin and end; `added` blanks stand before segments."""
        token_ids = pieces.flat_values
        owners = tf.cast(pieces.value_rowids(), tf.int32)
        sizes = tf.gather(self._sizes, token_ids)
        before = tf.cumsum(sizes, exclusive=True)
        behind = tf.concat([before, [tf.reduce_sum(sizes)]], 0)
        segment_firsts = tf.cast(pieces.row_starts(), tf.int32)
        shift = tf.gather(segments.starts - added, owners) - tf.gather(
            tf.gather(behind, segment_firsts), owners
        )
        segment_starts = tf.gather(segments.starts, owners)
        # A blank that was put before a text stands for the text's first character.
        is_added = before + shift < segment_starts
        starts, ends = before + shift, before + sizes + shift
        starts, ends = _whole_characters(
            segments,
            owners,
            tf.maximum(starts, segment_starts),
            tf.where(is_added & (sizes == 1), ends + 1, ends),
        )
        if not self._trim_offsets:
            return starts, ends
        leading = tf.gather(self._blanks_before, token_ids)
        if self._add_prefix_space:  # the library's rule, whether the blank was put there or stood there
            is_begin = starts == tf.gather(begins, owners)
            leading = tf.where(is_begin & (leading == 1), 0, leading)
        # A blank that was put in and is left out takes the character with it that it stands for.
        first = tf.gather(tf.strings.length(tf.strings.substr(segments.texts, 0, 1, "UTF8_CHAR")), owners)
        starts = tf.minimum(starts + tf.where(is_added & (leading == 1), first, leading), ends)
        ends = tf.maximum(ends - tf.gather(self._blanks_behind, token_ids), starts)
        return starts, tf.where(is_added & (sizes == 1), starts, ends)

    def of_found(
        self, found: tf.Tensor, segments: Segments, begins: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Where the tokens that were found in texts begin and end; `found` are their segments."""
        starts = tf.gather(segments.starts, found)
        texts = tf.gather(segments.texts, found)
        size = tf.strings.length(texts)
        ends = starts + size
        if not self._trim_offsets:
            return starts, ends
        # They may take white space along.
        behind_blanks = tf.strings.regex_replace(texts, f"^[{BLANKS}]+", "")
        leading = size - tf.strings.length(behind_blanks)
        if self._add_prefix_space:
            is_begin = starts == tf.gather(begins, found)
            is_one = tf.strings.length(texts, "UTF8_CHAR") == 1 + tf.strings.length(
                behind_blanks, "UTF8_CHAR"
            )
            leading = tf.where(is_begin & is_one, 0, leading)
        trailing = size - tf.strings.length(tf.strings.regex_replace(texts, f"[{BLANKS}]+$", ""))
        starts += leading
        return starts, tf.maximum(ends - trailing, starts)


def _whole_characters(
    segments: Segments, owners: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Offsets in texts, moved apart to the edges of the characters that they lie in."""
    data = tf.io.decode_raw(tf.strings.reduce_join(segments.texts), tf.uint8)
    is_inside = tf.concat([tf.bitwise.bitwise_and(data, 0xC0) == 0x80, [False]], 0)
    sizes = tf.strings.length(segments.texts)
    shift = tf.gather(tf.cumsum(sizes, exclusive=True) - segments.starts, owners)
    starts, ends = starts + shift, ends + shift
    for _ in range(3):  # a character has at most four bytes
        starts -= tf.cast(tf.gather(is_inside, starts), tf.int32)
        ends += tf.cast(tf.gather(is_inside, ends), tf.int32)
    return starts - shift, ends - shift
