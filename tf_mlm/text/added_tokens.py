"""Tokens found in a text as they are spelt, before words are cut from it: a literal [MASK], or a later word.

This is what the `tokenizers` library does with the `added_tokens` of a `tokenizer.json`, vectorised over all
characters of a batch: from left to right the longest token that begins at a place, then the conditions and
the white space that a token's flags ask for. A token counts as one of a segment: a text, or what lies between
the tokens found before.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_mlm.config import AddedToken
from tf_mlm.errors import ConfigError
from tf_mlm.text.code_points import WHITE_SPACE
from tf_mlm.text.selection import rows_where, selected

_POINT_BITS = 21
_CHUNK = 32
# Longer alternatives make RE2's automaton large; then the beginnings of tokens have to do.
_PATTERN_SIZE = 2000


class Found(NamedTuple):
    """Tokens found, in order, without overlaps; int32 [found] each.

    Attributes:
        starts: the first character of each, white space that it takes along included.
        ends: the character behind the last one.
        which: the row of the finder's tokens.
    """

    starts: tf.Tensor
    ends: tf.Tensor
    which: tf.Tensor


class Places(NamedTuple):
    """Where parts of texts go when they are cut at the tokens in them: text, token, text, token, ..., text.

    Attributes:
        tokens: int32 [found], the place of each token.
        firsts: int32 [parts + 1], the first of the 2k + 1 places of a part with k tokens, and the end.
        before: int32 [parts + 1], the tokens in the parts before each part, and in all.
    """

    tokens: tf.Tensor
    firsts: tf.Tensor
    before: tf.Tensor

    @classmethod
    def of(cls, part_of: tf.Tensor, parts: tf.Tensor) -> Places:
        """From the part that each token is in, int32 [found], ascending, and the number of parts."""
        per_part = tf.math.bincount(part_of, minlength=parts, maxlength=parts, dtype=tf.int32)
        before = tf.concat([[0], tf.cumsum(per_part)], 0)
        tokens = 2 * tf.range(tf.size(part_of)) + part_of + 1
        return cls(tokens, 2 * before + tf.range(parts + 1), before)


class AddedTokenFinder(tf.Module):
    """Finds tokens by their spelling, in a trie that is walked for all characters at once.

    Args:
        tokens: what to look for, at least one token; of two with one spelling the first counts.
        spellings: how each of them is spelt in the text that is searched.

    Raises:
        ConfigError: at construction, if one token would take along the white space another one begins with.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.config import AddedToken
        >>> from tf_mlm.text.added_tokens import AddedTokenFinder
        >>> finder = AddedTokenFinder([AddedToken("[MASK]"), AddedToken("new")], ["[MASK]", "new"])
        >>> line = tf.strings.unicode_decode(["a[MASK] newer"], "UTF-8")
        >>> found = finder.find(line.flat_values, tf.cast(line.row_splits, tf.int32))
        >>> found.starts.numpy().tolist(), found.ends.numpy().tolist(), found.which.numpy().tolist()
        ([1, 8], [7, 11], [0, 1])
    """

    def __init__(
        self, tokens: Sequence[AddedToken], spellings: Sequence[str], name: str | None = None
    ) -> None:
        super().__init__(name=name)
        _check_white_space(tokens, spellings)
        keys, targets, accepted = _trie(spellings)
        self._keys, self._targets = tf.constant(keys), tf.constant(targets)
        self._accepted = tf.constant(accepted)
        self._longest = max(map(len, spellings))
        self._first_points = tf.constant(sorted({ord(spelling[0]) for spelling in spellings}), tf.int32)
        self._flags = {
            flag: tf.constant([getattr(token, flag) for token in tokens])
            for flag in ("single_word", "lstrip", "rstrip")
            if any(getattr(token, flag) for token in tokens)
        }
        self._spaces = tf.constant([ord(blank) for blank in WHITE_SPACE], tf.int32)
        if "single_word" in self._flags:
            self._word_edges = tf.constant(_word_edges())
        self.ascii_pattern = _pattern([spelling for spelling in spellings if spelling.isascii()])
        """A regular expression that holds for each ASCII text with a token in it; None if there is none."""

    def find(self, points: tf.Tensor, segment_splits: tf.Tensor) -> Found:
        """Where tokens stand.

        Args:
            points: int32 [characters], the code points of all segments.
            segment_splits: int32 [segments + 1], where each segment begins, and the end.
        """
        starts, lengths, which = self._longest_at_each_place(points, segment_splits)
        is_apart = tf.reduce_all((starts + lengths)[:-1] <= starts[1:])
        chosen = tf.cond(
            is_apart, lambda: tf.ones_like(starts, tf.bool), lambda: _leftmost(starts, starts + lengths)
        )
        starts, lengths, which = selected(chosen, starts, lengths, which)
        return self._with_flags(points, segment_splits, Found(starts, starts + lengths, which))

    def _longest_at_each_place(
        self, points: tf.Tensor, segment_splits: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Start, length and row of the longest token at each place where one begins."""
        nearest = tf.searchsorted(self._first_points, points)
        nearest = tf.minimum(nearest, tf.size(self._first_points) - 1)
        places = rows_where(tf.gather(self._first_points, nearest) == points)
        limits = tf.gather(segment_splits, tf.searchsorted(segment_splits, places, "right"))
        padded = tf.concat([points, [0]], 0)
        size = tf.size(places)

        def walk(
            depth: tf.Tensor, alive: tf.Tensor, states: tf.Tensor, lengths: tf.Tensor, which: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            """One more character of every place where the walk goes on."""
            at = tf.gather(places, alive) + depth
            inside = at < tf.gather(limits, alive)
            point = tf.gather(padded, tf.where(inside, at, tf.size(points)))
            keys = tf.bitwise.left_shift(tf.cast(states, tf.int64), _POINT_BITS) | tf.cast(point, tf.int64)
            edges = tf.minimum(tf.searchsorted(self._keys, keys), tf.size(self._keys) - 1)
            goes_on = inside & (tf.gather(self._keys, edges) == keys)
            alive, edges = selected(goes_on, alive, edges)
            states = tf.gather(self._targets, edges)
            rows = tf.gather(self._accepted, states)
            whole, rows = selected(rows >= 0, alive, rows)
            ended = tf.expand_dims(whole, 1)
            lengths = tf.tensor_scatter_nd_update(lengths, ended, tf.fill(tf.shape(rows), depth + 1))
            which = tf.tensor_scatter_nd_update(which, ended, rows)
            return depth + 1, alive, states, lengths, which

        one = tf.TensorSpec([None], tf.int32)
        *_, lengths, which = tf.while_loop(
            lambda depth, alive, *_: tf.size(alive) > 0,
            walk,
            (
                tf.constant(0),
                tf.range(size),
                tf.zeros([size], tf.int32),
                tf.fill([size], 0),
                tf.fill([size], -1),
            ),
            shape_invariants=(tf.TensorSpec([], tf.int32), one, one, one, one),
            maximum_iterations=self._longest,
        )
        return selected(which >= 0, places, lengths, which)

    def _with_flags(self, points: tf.Tensor, segment_splits: tf.Tensor, found: Found) -> Found:
        """Drops what is not a word of its own, and adds the white space that is taken along."""
        if not self._flags:
            return found
        segments = tf.searchsorted(segment_splits, found.starts, "right")
        firsts = tf.gather(segment_splits, segments - 1)
        limits = tf.gather(segment_splits, segments)
        padded = tf.concat([points, [0]], 0)
        if "single_word" in self._flags:
            before = tf.gather(padded, tf.where(found.starts > firsts, found.starts - 1, tf.size(points)))
            behind = tf.gather(padded, tf.where(found.ends < limits, found.ends, tf.size(points)))
            touched = self._is_word(before) & (found.starts > firsts)
            touched |= self._is_word(behind) & (found.ends < limits)
            kept = ~(touched & tf.gather(self._flags["single_word"], found.which))
            starts, ends, which, firsts, limits = selected(kept, *found, firsts, limits)
        else:
            starts, ends, which = found
        is_space = tf.reduce_any(points[:, tf.newaxis] == self._spaces, 1)
        solid = rows_where(~is_space)
        if "rstrip" in self._flags:
            solid_behind = tf.concat([solid, [tf.size(points)]], 0)
            reach = tf.minimum(tf.gather(solid_behind, tf.searchsorted(solid, ends)), limits)
            ends = tf.where(tf.gather(self._flags["rstrip"], which), reach, ends)
        if "lstrip" in self._flags:
            solid_before = tf.concat([[-1], solid], 0)
            reach = tf.maximum(tf.gather(solid_before, tf.searchsorted(solid, starts)) + 1, firsts)
            reach = tf.maximum(reach, tf.concat([[0], ends], 0)[:-1])
            starts = tf.where(tf.gather(self._flags["lstrip"], which), reach, starts)
        return Found(starts, ends, which)

    def _is_word(self, points: tf.Tensor) -> tf.Tensor:
        return tf.searchsorted(self._word_edges, points, "right") % 2 == 1


def _leftmost(starts: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """bool [found], which tokens are left when each one, from left to right, takes its characters.

    From every token there is one next one, the first that begins behind its end. Those on the way from the
    first token are found by doubling the length of the steps, not one by one.
    """
    size = tf.size(starts)
    nexts = tf.concat([tf.searchsorted(starts, ends), [size]], 0)
    reached = tf.concat([[True], tf.zeros([size], tf.bool)], 0)

    def double(nexts: tf.Tensor, reached: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        (targets,) = selected(reached, nexts)
        ones = tf.ones_like(targets, tf.bool)
        reached = tf.tensor_scatter_nd_update(reached, tf.expand_dims(targets, 1), ones)
        return tf.gather(nexts, nexts), reached

    _, reached = tf.while_loop(
        lambda nexts, reached: nexts[0] < size,
        double,
        (nexts, reached),
        shape_invariants=(tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.bool)),
    )
    return reached[:-1]


def _trie(spellings: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The edges of a trie as sorted keys (state and code point) with their targets, and rows by state."""
    edges: dict[tuple[int, int], int] = {}
    accepted = [-1]
    for row, spelling in enumerate(spellings):
        state = 0
        for character in spelling:
            edge = (state, ord(character))
            if edge not in edges:
                edges[edge] = len(accepted)
                accepted.append(-1)
            state = edges[edge]
        if accepted[state] < 0:
            accepted[state] = row
    ordered = sorted(edges)
    keys = [state << _POINT_BITS | point for state, point in ordered]
    targets = [edges[edge] for edge in ordered]
    return np.array(keys, np.int64), np.array(targets, np.int32), np.array(accepted, np.int32)


def _pattern(spellings: Sequence[str]) -> str | None:
    if not spellings:
        return None
    beginnings, size = set(spellings), max(map(len, spellings))
    while sum(map(len, beginnings)) > _PATTERN_SIZE and size > 1:
        size = min(size - 1, max(1, _PATTERN_SIZE // len(beginnings)))
        beginnings = {spelling[:size] for spelling in spellings}
    # A blank may stand for any white space that normalisation turns into one.
    alternatives = (
        "[ \\t\\n\\r]".join(f"\\Q{part}\\E" for part in beginning.split(" "))
        for beginning in sorted(beginnings)
    )
    return f"(?s).*(?:{'|'.join(alternatives)}).*"


def _check_white_space(tokens: Sequence[AddedToken], spellings: Sequence[str]) -> None:
    greedy = [token.content for token in tokens if token.rstrip]
    blank = [
        token.content for token, spelling in zip(tokens, spellings, strict=True) if spelling[0] in WHITE_SPACE
    ]
    if greedy and blank:
        raise ConfigError(
            "No added token may begin with white space while another one has `rstrip`, which takes it along. "
            f"Received: {blank[0]!r}, and {greedy[0]!r} with rstrip=true. Set it to false."
        )


@functools.cache
def _word_edges() -> np.ndarray:
    """Code points at which the library's word characters begin and end, in turn."""
    from tokenizers import AddedToken as LibraryToken
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"unknown": 0}, unk_token="unknown"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    tokenizer.add_tokens([LibraryToken("X", single_word=True, normalized=False)])
    # Surrogates are no characters; planes 4 to 13 are unassigned in every version of Unicode so far.
    asked = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0x110000)]
    is_word = np.zeros(0x110000 + 1, bool)
    for first in range(0, len(asked), _CHUNK):
        points = asked[first : first + _CHUNK]
        encoding = tokenizer.encode("".join(f"{chr(point)}X\n" for point in points))
        found = {start for (start, _), index in zip(encoding.offsets, encoding.ids, strict=True) if index}
        is_word[[point for row, point in enumerate(points) if 3 * row + 1 not in found]] = True
    return np.flatnonzero(np.diff(is_word.astype(np.int8), prepend=0)).astype(np.int32)
