"""The normalisation of characters by the tables of `tf_mlm.text.code_points`, in the graph."""

from __future__ import annotations

import tensorflow as tf

from tf_mlm.config import TokenizerConfig
from tf_mlm.text import code_points as cp
from tf_mlm.text.selection import rows_where


class Normalization(tf.Module):
    """What one configuration makes of code points: int32 [characters] in, and mostly out.

    Example:
        >>> from tf_mlm.config import TokenizerConfig
        >>> from tf_mlm.text.normalization import Normalization
        >>> normalization = Normalization(TokenizerConfig())
        >>> points = tf.strings.unicode_decode("Éa", "UTF-8")
        >>> characters, owners = normalization.replace(points, normalization.entries(points))
        >>> bytes(characters.numpy().tolist()).decode(), owners.numpy().tolist()
        ('ea', [0, 1])
    """

    def __init__(self, config: TokenizerConfig, name: str | None = None) -> None:
        super().__init__(name=name)
        table = cp.code_points(config)
        self._cleans = config.clean_text
        self._pages = tf.constant(table.pages)
        self._entries = tf.constant(table.entries)
        self._pool = tf.constant(table.pool)
        self._marks = tf.constant(table.marks)
        self._mark_classes = tf.constant(table.mark_classes)

    def entries(self, points: tf.Tensor) -> tf.Tensor:
        """The table's entry of each character."""
        return look_up(self._pages, self._entries, points)

    def sort_marks(
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

    def replace(self, points: tf.Tensor, entries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The normalised characters [kept] but spaces, and the character of the text that each comes from."""
        counts, values = counts_of(entries), shifted(entries, cp.VALUE_SHIFT)

        def one_for_one() -> tuple[tf.Tensor, tf.Tensor]:
            owners = rows_where(counts > 0)
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

    def with_spaces(
        self, points: tf.Tensor, entries: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The normalised characters, spaces included; an ideograph comes with one on either side.

        Returns:
            [stream] the characters, the character of the text that each comes from, and whether it is a
            blank; and [characters + 1] where each character of the text begins in the stream.
        """
        kinds, counts = entries & cp.KIND_MASK, counts_of(entries)
        is_space, is_ideograph = kinds == cp.SPACE, kinds == cp.IDEOGRAPH
        sizes = counts + tf.cast(is_space, tf.int32) + 2 * tf.cast(is_ideograph, tf.int32)
        owners = tf.repeat(tf.range(tf.size(points)), sizes)
        begins = tf.concat([[0], tf.cumsum(sizes)], 0)
        nth = tf.range(tf.size(owners)) - tf.gather(begins, owners)
        values = tf.gather(shifted(entries, cp.VALUE_SHIFT), owners)
        several = tf.gather(counts, owners) > 1
        stream = tf.gather(points, owners) + values
        if self._pool.shape[0]:
            stream = tf.where(several, tf.gather(self._pool, tf.where(several, values + nth, 0)), stream)
        blank = tf.gather(is_space, owners) | (tf.gather(is_ideograph, owners) & (nth != 1))
        as_space = is_ideograph | self._cleans  # cleaning makes every blank a space
        blanks = tf.where(tf.gather(as_space, owners), ord(" "), tf.gather(points, owners))
        return tf.where(blank, blanks, stream), owners, blank, begins


def look_up(pages: tf.Tensor, entries: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """The entries of code points in a table that `code_points.paged` made."""
    page = tf.gather(pages, shifted(points, cp.PAGE_BITS))
    return tf.gather(entries, page * cp.PAGE_SIZE + (points & (cp.PAGE_SIZE - 1)))


def counts_of(entries: tf.Tensor) -> tf.Tensor:
    """How many characters each one becomes."""
    return shifted(entries, cp.COUNT_SHIFT) & cp.COUNT_MASK


def shifted(values: tf.Tensor, bits: int) -> tf.Tensor:
    """The bits above the lowest ones."""
    return tf.bitwise.right_shift(values, bits)
