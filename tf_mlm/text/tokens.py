"""What every tokenizer returns, and all that the rest of the package knows of a tokenizer."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import tensorflow as tf

from tf_mlm.text.vocabulary import Vocabulary


class Tokens(NamedTuple):
    """The tokens of a batch of texts, without special tokens around them.

    The tokens of one text stand together, but the texts may stand in any order.

    Attributes:
        token_ids: int32 [tokens].
        starts: int32 [tokens], first byte of the token in its text.
        ends: int32 [tokens], byte behind its last one.
        firsts: int32 [batch], where the tokens of each text begin.
        counts: int32 [batch], how many tokens each text has.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.text.tokens import Tokens
        >>> parts = [7, 8, 9], [0, 2, 0], [2, 4, 3], [2, 0], [1, 2]
        >>> Tokens(*map(tf.constant, parts)).to_ragged()
        <tf.RaggedTensor [[9], [7, 8]]>
    """

    token_ids: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    firsts: tf.Tensor
    counts: tf.Tensor

    def to_ragged(self) -> tf.RaggedTensor:
        """The ids of each text, ragged [batch, (tokens)]."""
        places = tf.ragged.range(self.firsts, self.firsts + self.counts)
        return tf.gather(self.token_ids, places)


class Tokenizer(Protocol):
    """A callable from texts, string [batch], to their tokens."""

    vocabulary: Vocabulary

    def __call__(self, text: tf.Tensor) -> Tokens:
        """The tokens of the texts."""


def utf8_size(points: tf.Tensor) -> tf.Tensor:
    """Bytes of each code point in UTF-8."""
    sizes = [tf.cast(points >= first, tf.int32) for first in (0x80, 0x800, 0x10000)]
    return 1 + sizes[0] + sizes[1] + sizes[2]
