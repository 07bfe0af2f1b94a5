"""Texts as characters that know where they come from, cut at the added tokens in them."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tf_mlm.text.added_tokens import AddedTokenFinder, Places
from tf_mlm.text.found_tokens import covered
from tf_mlm.text.selection import rows_where
from tf_mlm.text.tokens import Tokens, utf8_size


class Characters(NamedTuple):
    """The characters of all parts of all texts, in order; int32 [characters] each.

    Attributes:
        points: code points.
        starts: the first byte, in its text, of what each comes from.
        ends: the byte behind it.
        owners: the part that each belongs to, ascending.
    """

    points: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    owners: tf.Tensor

    def at(self, places: tf.Tensor) -> Characters:
        """Those at some places."""
        return Characters(*(tf.gather(values, places) for values in self))


class Parts(NamedTuple):
    """Texts in parts, in order: a token that was found, which has no characters, or what lies between.

    Attributes:
        token_ids: int32 [parts], the token, or -1 for a part to be tokenised.
        starts, ends: int32 [parts], the bytes of a token in its text.
        splits: int32 [texts + 1], where the parts of each text begin, and the end.
    """

    token_ids: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    splits: tf.Tensor


def characters_of(texts: tf.Tensor) -> tuple[Characters, Parts]:
    """Each text as one part; a byte that is no UTF-8 is the character U+FFFD."""
    points, starts = tf.strings.unicode_decode_with_offsets(texts, "UTF-8", errors="replace")
    begins, values = tf.cast(starts.flat_values, tf.int32), points.flat_values
    ends = begins + utf8_size(values)
    owners = tf.cast(points.value_rowids(), tf.int32)
    # Where a byte was replaced, the next character says where it ends, or the text does.
    is_last = tf.concat([owners[1:] != owners[:-1], [True]], 0)[: tf.size(values)]
    behind = tf.where(is_last, tf.gather(tf.strings.length(texts), owners), tf.roll(begins, -1, 0))
    ends = tf.where(values == 0xFFFD, behind, ends)
    count = tf.size(texts)
    zeros = tf.zeros([count], tf.int32)
    return Characters(values, begins, ends, owners), Parts(zeros - 1, zeros, zeros, tf.range(count + 1))


def cut(
    characters: Characters, parts: Parts, finder: AddedTokenFinder, ids: tf.Tensor
) -> tuple[Characters, Parts]:
    """The same with the tokens that a finder finds in the parts, each a part of its own.

    Args:
        characters, parts: texts as they are cut so far.
        finder: looks at each part for itself.
        ids: int32, the id of each row of the finder.
    """
    count, size = tf.size(parts.token_ids), tf.size(characters.points)
    found = finder.find(characters.points, tf.searchsorted(characters.owners, tf.range(count + 1)))

    def cut_apart() -> tuple[Characters, Parts]:
        part_of = tf.gather(characters.owners, found.starts)
        places = Places.of(part_of, count)
        ones = tf.ones_like(found.ends)
        ended = tf.cumsum(tf.scatter_nd(found.ends[:, tf.newaxis], ones, [size + 1]))[:-1]
        kept = rows_where(~covered(found, size))
        moved = characters._replace(owners=characters.owners + 2 * ended)
        indices = tf.concat([places.firsts[:-1], places.tokens], 0)[:, tf.newaxis]

        def placed(first: tf.Tensor, tokens: tf.Tensor, default: int) -> tf.Tensor:
            values = tf.fill([places.firsts[-1]], default)
            return tf.tensor_scatter_nd_update(values, indices, tf.concat([first, tokens], 0))

        return moved.at(kept), Parts(
            placed(parts.token_ids, tf.gather(ids, found.which), -1),
            placed(parts.starts, tf.gather(characters.starts, found.starts), 0),
            placed(parts.ends, tf.gather(characters.ends, found.ends - 1), 0),
            tf.gather(places.firsts, parts.splits),
        )

    return tf.cond(tf.size(found.which) > 0, cut_apart, lambda: (characters, parts))


def in_order(
    parts: Parts, token_ids: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, owners: tf.Tensor
) -> Tokens:
    """The tokens of the parts and those that were found, in the order of the texts.

    Args:
        parts: the texts, cut at the tokens that were found.
        token_ids, starts, ends: int32 [tokens], what the other parts were cut into, in order.
        owners: int32 [tokens], the part that each belongs to.
    """
    count = tf.size(parts.token_ids)
    given = rows_where(parts.token_ids >= 0)
    of_words = tf.math.bincount(owners, minlength=count, maxlength=count, dtype=tf.int32)
    splits = tf.concat([[0], tf.cumsum(tf.where(parts.token_ids >= 0, 1, of_words))], 0)
    before = tf.cumsum(of_words, exclusive=True)
    places = tf.gather(splits[:-1] - before, owners) + tf.range(tf.size(token_ids))
    indices = tf.concat([places, tf.gather(splits, given)], 0)[:, tf.newaxis]
    total = tf.reshape(splits[-1], [1])

    def placed(cut_out: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return tf.scatter_nd(indices, tf.concat([cut_out, tf.gather(found, given)], 0), total)

    firsts = tf.gather(splits, parts.splits)
    return Tokens(
        placed(token_ids, parts.token_ids),
        placed(starts, parts.starts),
        placed(ends, parts.ends),
        firsts[:-1],
        firsts[1:] - firsts[:-1],
    )
