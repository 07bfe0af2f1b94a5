"""Texts cut at the added tokens in them; what lies between is for the model of words."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tf_mlm.text.added_tokens import AddedTokenFinder, Places


class Segments(NamedTuple):
    """Texts in parts, in order; a part is a token that was found, or text around such tokens.

    Attributes:
        texts: string [parts].
        starts: int32 [parts], the first byte of each in its text.
        token_ids: int32 [parts], the token, or -1 for a part to be tokenised.
        splits: int32 [texts + 1], where the parts of each text begin, and the end.
    """

    texts: tf.Tensor
    starts: tf.Tensor
    token_ids: tf.Tensor
    splits: tf.Tensor


def whole(texts: tf.Tensor) -> Segments:
    """Each text as one part."""
    count = tf.size(texts)
    return Segments(texts, tf.zeros([count], tf.int32), tf.fill([count], -1), tf.range(count + 1))


def cut(segments: Segments, finder: AddedTokenFinder, ids: tf.Tensor) -> Segments:
    """Parts with the tokens that a finder finds in those that are text, each a part of its own.

    Args:
        segments: texts as they are cut so far; they must be UTF-8.
        finder: looks at each part for itself.
        ids: int32, the id of each row of the finder.
    """
    is_text = segments.token_ids < 0
    searched = tf.where(is_text, segments.texts, "")
    characters, byte_starts = tf.strings.unicode_decode_with_offsets(searched, "UTF-8", errors="replace")
    character_splits = tf.cast(characters.row_splits, tf.int32)
    found = finder.find(characters.flat_values, character_splits)

    def cut_apart() -> Segments:
        part_of = tf.searchsorted(character_splits, found.starts, "right") - 1  # [found]
        sizes = tf.strings.length(segments.texts)
        bytes_of = tf.concat([tf.cast(byte_starts.flat_values, tf.int32), [0]], 0)
        begins = tf.gather(bytes_of, found.starts)
        is_last = found.ends == tf.gather(character_splits, part_of + 1)
        ends = tf.where(is_last, tf.gather(sizes, part_of), tf.gather(bytes_of, found.ends))
        count, parts = tf.size(found.which), tf.size(segments.texts)
        places = Places.of(part_of, parts)
        is_first = tf.concat([[True], part_of[1:] != part_of[:-1]], 0)[:count]
        text_begins = tf.where(is_first, 0, tf.concat([[0], ends], 0)[:-1])
        has_token = places.before[1:] > places.before[:-1]
        last_ends = tf.gather(tf.concat([ends, [0]], 0), tf.where(has_token, places.before[1:] - 1, count))
        indices = tf.concat([places.tokens - 1, places.tokens, places.firsts[1:] - 1], 0)[:, tf.newaxis]
        total = tf.reshape(2 * count + parts, [1])

        def placed(texts: tf.Tensor, tokens: tf.Tensor, lasts: tf.Tensor) -> tf.Tensor:
            return tf.scatter_nd(indices, tf.concat([texts, tokens, lasts], 0), total)

        owners = placed(part_of, part_of, tf.range(parts))
        begin = placed(text_begins, begins, last_ends)
        end = placed(begins, ends, sizes)
        kept_ids = tf.gather(segments.token_ids, tf.range(parts))
        return Segments(
            texts=tf.strings.substr(tf.gather(segments.texts, owners), begin, end - begin),
            starts=tf.gather(segments.starts, owners) + begin,
            token_ids=placed(tf.fill([count], -1), tf.gather(ids, found.which), kept_ids),
            splits=tf.gather(places.firsts, segments.splits),
        )

    return tf.cond(tf.size(found.which) > 0, cut_apart, lambda: segments)
