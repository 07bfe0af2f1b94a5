"""Which special tokens stand around a text, or around two, and the segment of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_mlm.config.tokenizer import PAIR, TEXT
from tf_mlm.errors import ConfigError
from tf_mlm.text.vocabulary import Vocabulary


class Places(NamedTuple):
    """Where the parts of a template begin in each row, int32 [batch, 1] where they depend on it.

    Attributes:
        first, second: the first token of each text, as far as there are two.
        specials: the id of each special token, and its place.
        segments: for every segment but 0, its number, where it begins and where it ends.
    """

    first: int | tf.Tensor
    second: int | tf.Tensor
    specials: list[tuple[int, int | tf.Tensor]]
    segments: list[tuple[int, int | tf.Tensor, tf.Tensor]]


class Template:
    """Special tokens and texts in their order, each with its segment.

    Args:
        parts: the id of a special token, or the place of a text (`$A`, `$B`), with its segment id.

    Example:
        >>> from tf_mlm.text.template import Template
        >>> template = Template([(2, 0), ("$A", 0), (3, 0), ("$B", 1), (3, 1)])
        >>> template.size
        3
        >>> places = template.starts(tf.constant(4), tf.constant(5))
        >>> places.first, int(places.second), [(special, int(at)) for special, at in places.specials]
        (1, 6, [(2, 0), (3, 5), (3, 11)])
        >>> [(number, int(begin), int(end)) for number, begin, end in places.segments]
        [(1, 6, 12)]
    """

    def __init__(self, parts: Sequence[tuple[int | str, int]]) -> None:
        self._parts = parts
        self.size = sum(not isinstance(part, str) for part, _ in parts)

    @classmethod
    def single(cls, vocabulary: Vocabulary) -> Template:
        """That of one text."""
        return cls([(vocabulary.cls_id, 0), (TEXT, 0), (vocabulary.sep_id, 0)])

    @classmethod
    def pair(cls, vocabulary: Vocabulary) -> Template:
        """That of two texts.

        Raises:
            ConfigError: for a special token that is not in the vocabulary.
        """
        parts: list[tuple[int | str, int]] = []
        for part, segment in vocabulary.config.pair_template:
            special = part if part in (TEXT, PAIR) else vocabulary.id_of(part)
            if special is None:
                raise ConfigError(f"`pair` must be made of tokens of the vocabulary. Received: {part!r}.")
            parts.append((special, segment))
        return cls(parts)

    def starts(self, kept: tf.Tensor, kept_second: tf.Tensor) -> Places:
        """Where everything stands when this many tokens [batch, 1] of each text are kept."""
        at: int | tf.Tensor = 0
        first, second = at, at
        specials: list[tuple[int, int | tf.Tensor]] = []
        segments: list[tuple[int, int | tf.Tensor, tf.Tensor]] = []
        for part, segment in self._parts:
            begin = at
            if part == TEXT:
                first, at = at, at + kept
            elif part == PAIR:
                second, at = at, at + kept_second
            elif isinstance(part, int):
                specials.append((part, at))
                at = at + 1
            if segments and segments[-1][0] == segment and segments[-1][2] is begin:
                segments[-1] = (segment, segments[-1][1], at)
            elif segment:
                segments.append((segment, begin, at))
        return Places(first, second, specials, segments)
