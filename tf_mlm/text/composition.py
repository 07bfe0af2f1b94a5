"""Unicode's form NFC of characters that know where they come from."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

from tf_mlm.text.characters import Characters
from tf_mlm.text.selection import rows_where, selected
from tf_mlm.text.tokens import utf8_size


class Composition(tf.Module):
    """Letters with the marks behind them as one character, where Unicode has it.

    Example:
        >>> from tf_mlm.text.characters import characters_of
        >>> from tf_mlm.text.composition import Composition
        >>> characters, _ = characters_of(tf.constant(["e\\u0301x"]))
        >>> composed = Composition()(characters, 1)
        >>> composed.points.numpy().tolist(), composed.starts.numpy().tolist()
        ([233, 120], [0, 3])
    """

    def __call__(self, characters: Characters, parts: int | tf.Tensor) -> Characters:
        """The characters in form NFC.

        Args:
            characters: of all parts.
            parts: how many there are.
        """
        splits = tf.searchsorted(characters.owners, tf.range(tf.convert_to_tensor(parts) + 1))
        texts = tf.strings.unicode_encode(
            tf.RaggedTensor.from_row_splits(characters.points, splits, validate=False), "UTF-8"
        )
        is_same = tf.reduce_all(tf_text.normalize_utf8(texts, "NFC") == texts)

        def composed() -> Characters:
            normal, source = tf_text.normalize_utf8_with_offsets_map(texts, "NFC")
            points, places = tf.strings.unicode_decode_with_offsets(normal, "UTF-8")
            # The end of each part too: of every part the operation wants to be asked something.
            end = tf.cast(tf.strings.length(normal), tf.int64)[:, tf.newaxis]
            asked = tf.concat([places, end], 1)
            found = tf.cast(tf_text.find_source_offsets(source, asked).flat_values, tf.int32)
            sizes = utf8_size(characters.points)
            # Behind the last character, and with it each part, a place that stands for its end.
            of_byte = tf.concat([tf.repeat(tf.range(tf.size(sizes)), sizes), [tf.size(sizes)]], 0)
            before = tf.concat([[0], tf.cumsum(sizes)], 0)
            owners = asked.value_rowids()
            first = tf.gather(before, tf.gather(splits, owners))
            origin = one_after_another(tf.gather(of_byte, first + found), owners)
            (origin,) = selected(~_is_last(owners), origin)
            return Characters(
                points.flat_values,
                tf.gather(characters.starts, origin),
                tf.gather(characters.ends, origin),
                tf.cast(points.value_rowids(), tf.int32),
            )

        return tf.cond(is_same, lambda: characters, composed)


def _is_last(owners: tf.Tensor) -> tf.Tensor:
    return tf.concat([owners[1:] != owners[:-1], [True]], 0)[: tf.size(owners)]


def one_after_another(characters: tf.Tensor, owners: tf.Tensor) -> tf.Tensor:
    """Where several characters are replaced by several, each comes from the one at its place among them.

    ICU knows of such a replacement where it begins, and for its other characters where it ends. As the
    library has it, characters that were put together or taken apart are the first ones.

    Args:
        characters: int32 [places], the character of the texts that each comes from; behind each part its end.
        owners: int64 [places], the part that each belongs to.
    """
    count = tf.size(characters)
    is_inner = (characters[1:] == characters[:-1]) & (owners[1:] == owners[:-1])
    is_inner = tf.concat([is_inner, [False]], 0)[:count]
    outer = tf.concat([rows_where(~is_inner), [count]], 0)
    which = tf.maximum(tf.cumsum(tf.cast(~is_inner, tf.int32)) - 1, 0)
    first, size = tf.gather(outer, which), tf.gather(outer, which + 1) - tf.gather(outer, which)
    begin = tf.gather(characters, first)
    nth = tf.range(count) - first + (characters - begin - size)  # less those that were not there before
    inner = tf.minimum(begin + tf.maximum(nth, 0), tf.maximum(characters - 1, begin))
    return tf.where(is_inner, inner, characters)
