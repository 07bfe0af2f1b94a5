"""Normalisation of texts as SentencePiece models have it: steps over characters that keep their places.

The steps are those of the `normalizer` in a `tokenizer.json`; what each does to a character, and where the
result comes from, is what the `tokenizers` library does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tokenizers import normalizers

from tf_mlm.text.characters import Characters
from tf_mlm.text.charsmap import read_charsmap
from tf_mlm.text.code_points import WHITE_SPACE, paged
from tf_mlm.text.normalization import look_up, shifted
from tf_mlm.text.selection import rows_where
from tf_mlm.text.tokens import utf8_size

_CODE_POINTS = 0x110000
_SEPARATOR = "\U000f0000"  # for private use: no normalisation touches it
_ASSIGNED = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000)]
_EXTENDS, _ENDS_GROUP, _SHIFT = 1, 2, 2


class CharacterMap(tf.Module):
    """Characters that become others, each by itself.

    Args:
        replacements: the text that each character becomes; the others stay.
        extends, ends_group: see `Charsmap`.
        groups: replacements of two or three characters that count as one.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.text.character_map import CharacterMap
        >>> from tf_mlm.text.characters import characters_of
        >>> characters, _ = characters_of(tf.constant(["½x"]))
        >>> mapped = CharacterMap({"½": "1/2"})(characters, 1)
        >>> bytes(mapped.points.numpy().tolist()).decode(), mapped.starts.numpy().tolist()
        ('1/2x', [0, 0, 0, 2])
    """

    def __init__(
        self,
        replacements: Mapping[str, str],
        *,
        extends: frozenset[int] = frozenset(),
        ends_group: frozenset[int] = frozenset(),
        groups: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        table = {value: index + 1 for index, value in enumerate(dict.fromkeys(replacements.values()))}
        groups = groups or {}
        for value in groups.values():
            table.setdefault(value, len(table) + 1)
        self._dropped = table.setdefault("", len(table) + 1)
        entries = np.zeros(_CODE_POINTS, np.int32)
        for key, value in replacements.items():
            entries[ord(key)] = table[value] << _SHIFT
        entries[list(extends)] |= _EXTENDS
        entries[list(ends_group)] |= _ENDS_GROUP
        self._pages, self._entries = (tf.constant(part, tf.int32) for part in paged(entries))
        sizes = [1, *map(len, table)]  # the first entry: a character that stays
        self._sizes = tf.constant(sizes, tf.int32)
        self._begins = tf.constant(np.cumsum([0, *sizes])[:-1], tf.int32)
        self._pool = tf.constant([0, *map(ord, "".join(table))], tf.int32)
        self._has_groups = bool(extends)
        if self._has_groups:
            keys = [_packed(key) for key in groups] or [-1]
            values = [table[value] for value in groups.values()] or [0]
            self._groups = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(keys, tf.int64), tf.constant(values, tf.int64)
                ),
                0,
            )

    def __call__(self, characters: Characters, parts: int | tf.Tensor) -> Characters:
        """The characters that these become.

        Args:
            characters: of all parts.
            parts: how many there are.
        """
        found = look_up(self._pages, self._entries, characters.points)
        entries = shifted(found, _SHIFT)
        is_same = tf.reduce_all(entries == 0)
        if not self._has_groups:
            return tf.cond(
                is_same, lambda: characters, lambda: self._replaced(characters, entries, None, parts)
            )
        glued = self._glued(characters, found)

        def replaced() -> Characters:
            ones = tf.ones_like(entries)
            groups, widths = tf.cond(
                tf.reduce_any(glued),
                lambda: self._grouped(characters.points, entries, glued),
                lambda: (entries, ones),
            )
            return self._replaced(characters, groups, widths, parts)

        return tf.cond(is_same & ~tf.reduce_any(glued), lambda: characters, replaced)

    def _glued(self, characters: Characters, found: tf.Tensor) -> tf.Tensor:
        """bool [characters], whether one belongs to a group with the one before."""
        points, owners = characters.points, characters.owners
        extends = (found[1:] & _EXTENDS != 0) & (found[:-1] & _ENDS_GROUP == 0)
        extends |= (points[1:] == ord("\n")) & (points[:-1] == ord("\r"))
        return tf.concat([[False], extends & (owners[1:] == owners[:-1])], 0)[: tf.size(points)]

    def _grouped(
        self, points: tf.Tensor, entries: tf.Tensor, glued: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Entries with those of groups, at the first character of each, and how many characters it has."""
        size = tf.size(points)
        firsts = rows_where(~glued)
        limits = tf.concat([firsts[1:], [size]], 0)
        counts = limits - firsts
        bytes_before = tf.concat([[0], tf.cumsum(utf8_size(points))], 0)
        group_bytes = tf.gather(bytes_before, limits) - tf.gather(bytes_before, firsts)
        chosen = rows_where((counts > 1) & (group_bytes < 6))
        firsts, counts = tf.gather(firsts, chosen), tf.gather(counts, chosen)
        wide = tf.cast(points, tf.int64)
        pair = tf.gather(wide, firsts) + tf.bitwise.left_shift(tf.gather(wide, firsts + 1), 21)
        third = tf.gather(wide, tf.minimum(firsts + 2, size - 1))
        triple = pair + tf.bitwise.left_shift(third, 42)
        of_pair = tf.cast(self._groups.lookup(pair), tf.int32)
        of_triple = tf.where(counts > 2, tf.cast(self._groups.lookup(triple), tf.int32), 0)
        single = tf.gather(entries, firsts)
        entry = tf.where(single > 0, single, tf.where(of_pair > 0, of_pair, of_triple))
        hit = rows_where(entry > 0)
        firsts, counts, entry = tf.gather(firsts, hit), tf.gather(counts, hit), tf.gather(entry, hit)
        members = tf.ragged.range(firsts + 1, firsts + counts).flat_values[:, tf.newaxis]
        entries = tf.tensor_scatter_nd_update(
            entries, members, tf.fill([tf.shape(members)[0]], self._dropped)
        )
        entries = tf.tensor_scatter_nd_update(entries, firsts[:, tf.newaxis], entry)
        return entries, tf.tensor_scatter_nd_update(tf.ones_like(entries), firsts[:, tf.newaxis], counts)

    def _replaced(
        self, characters: Characters, entries: tf.Tensor, widths: tf.Tensor | None, parts: int | tf.Tensor
    ) -> Characters:
        counts = tf.gather(self._sizes, entries)
        sources = tf.repeat(tf.range(tf.size(counts)), counts)
        nth = tf.range(tf.size(sources)) - tf.gather(tf.cumsum(counts, exclusive=True), sources)
        entry = tf.gather(entries, sources)
        pooled = tf.gather(self._pool, tf.gather(self._begins, entry) + nth)
        points = tf.where(entry > 0, pooled, tf.gather(characters.points, sources))
        owners = tf.gather(characters.owners, sources)
        if widths is not None:
            # The n-th of what replaces several comes from the n-th of them, as far as there are so many.
            places = sources + tf.minimum(nth, tf.gather(widths, sources) - 1)
            # What is dropped at the beginning of a part moves the places of all that follows.
            first = tf.math.unsorted_segment_min(sources, owners, parts)
            begins = tf.searchsorted(characters.owners, tf.range(parts))
            places -= tf.gather(first - begins, owners)
        else:
            places = sources
        return Characters(
            points, tf.gather(characters.starts, places), tf.gather(characters.ends, places), owners
        )


def of_library(steps: Sequence[normalizers.Normalizer]) -> CharacterMap:
    """What steps of the library that look at one character at a time do together."""
    whole = normalizers.Sequence(list(steps))
    characters = list(map(chr, _ASSIGNED))
    outputs = whole.normalize_str("".join(f"{each}{_SEPARATOR}" for each in characters)).split(_SEPARATOR)
    pairs = zip(characters, outputs[:-1], strict=True)
    return CharacterMap({key: value for key, value in pairs if key != value})


def of_charsmap(data: bytes) -> CharacterMap:
    """What SentencePiece's compiled normalisation does in the library."""
    charsmap = read_charsmap(data)
    return CharacterMap(
        charsmap.singles,
        extends=charsmap.extends,
        ends_group=charsmap.ends_group,
        groups=charsmap.groups,
    )


class Runs(tf.Module):
    """Equal characters in a row that become one, in place of the last of them.

    Args:
        character: which.
        replacement: what it becomes, one character.
        pairs: each two of them, and not all.
    """

    def __init__(self, character: str, replacement: str, pairs: bool, name: str | None = None) -> None:
        super().__init__(name=name)
        self._point, self._replacement, self._pairs = ord(character), ord(replacement), pairs

    def __call__(self, characters: Characters, parts: int | tf.Tensor) -> Characters:
        """The characters without those that are dropped."""
        points, owners = characters.points, characters.owners
        size = tf.size(points)
        is_it = points == self._point
        follows = is_it & tf.concat([[False], is_it[:-1] & (owners[1:] == owners[:-1])], 0)[:size]

        def joined() -> Characters:
            goes_on = tf.concat([follows[1:], [False]], 0)[:size]
            if self._pairs:
                starts = rows_where(is_it & ~follows)
                run = tf.maximum(tf.cumsum(tf.cast(is_it & ~follows, tf.int32)) - 1, 0)
                is_odd = is_it & ((tf.range(size) - tf.gather(starts, run)) % 2 == 1)
                dropped, replaced = is_it & ~is_odd & goes_on, is_odd
            else:
                dropped, replaced = goes_on, follows & ~goes_on
            moved = characters._replace(points=tf.where(replaced, self._replacement, points))
            return moved.at(rows_where(~dropped))

        return tf.cond(tf.reduce_any(follows), joined, lambda: characters)


class WhiteSpaceRuns(tf.Module):
    """White space in a row, and line ends and tabs alone, that become a blank in place of the last."""

    def __call__(self, characters: Characters, parts: int | tf.Tensor) -> Characters:
        """The characters without those that are dropped."""
        points, owners = characters.points, characters.owners
        size = tf.size(points)
        is_space = is_white_space(points)
        joins = is_space[1:] & is_space[:-1] & (owners[1:] == owners[:-1])
        follows = tf.concat([[False], joins], 0)[:size]
        goes_on = tf.concat([joins, [False]], 0)[:size]
        is_lone = tf.reduce_any(points[:, tf.newaxis] == [ord(each) for each in "\n\r\t"], 1)
        blank = tf.where(~goes_on & (follows | is_lone), ord(" "), points)
        return characters._replace(points=blank).at(rows_where(~goes_on))


class Strip(tf.Module):
    """White space at the ends of a part that is left out."""

    def __init__(self, left: bool, right: bool, name: str | None = None) -> None:
        super().__init__(name=name)
        self._left, self._right = left, right

    def __call__(self, characters: Characters, parts: int | tf.Tensor) -> Characters:
        """The characters between them."""
        places = tf.range(tf.size(characters.points))
        others = rows_where(~is_white_space(characters.points))
        owners = tf.gather(characters.owners, others)
        first = tf.math.unsorted_segment_min(others, owners, parts)
        last = tf.math.unsorted_segment_max(others, owners, parts)
        kept = tf.ones_like(places, tf.bool)
        if self._left:
            kept &= places >= tf.gather(first, characters.owners)
        if self._right:
            kept &= places <= tf.gather(last, characters.owners)
        return characters.at(rows_where(kept))


def is_white_space(points: tf.Tensor) -> tf.Tensor:
    """Which code points Unicode counts as white space."""
    table = np.zeros(0x3002, bool)
    table[[ord(blank) for blank in WHITE_SPACE]] = True
    return tf.gather(tf.constant(table), tf.minimum(points, len(table) - 1))


def _packed(group: str) -> int:
    return sum(ord(character) << (21 * place) for place, character in enumerate(group))
