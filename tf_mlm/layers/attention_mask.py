"""Which positions attend to which: real tokens, of the same document, within a sliding window."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

NOWHERE = -1
"""The document of a key that nobody attends to."""


class AttentionMask(NamedTuple):
    """Who attends to whom: position i to position j where `queries[i] == keys[j]` and |i - j| <= `window`.

    Attributes:
        queries, keys: int32 [batch, length], numbers of documents; of keys that are padding, `NOWHERE`.
        window: how many tokens on either side; None for all.
        is_packed: whether a row holds several documents, so that some blocks need not be computed.
    """

    queries: tf.Tensor
    keys: tf.Tensor
    window: int | None
    is_packed: bool

    @classmethod
    def of(cls, mask: tf.Tensor, documents: tf.Tensor | None, window: int | None) -> AttentionMask:
        """From the real positions, bool [batch, length], and the documents that share a row, if they do."""
        queries = tf.zeros_like(mask, tf.int32) if documents is None else documents
        return cls(queries, tf.where(mask, queries, NOWHERE), window, documents is not None)

    def of_pairs(self) -> tf.Tensor:
        """Bool [batch, 1, length or 1, length]: whether a query attends to a key, for all of them at once."""
        if self.is_packed:
            attends = self.queries[:, tf.newaxis, :, tf.newaxis] == self.keys[:, tf.newaxis, tf.newaxis]
        else:
            attends = (self.keys != NOWHERE)[:, tf.newaxis, tf.newaxis]
        if self.window is not None:
            place = tf.range(tf.shape(self.keys)[1])
            attends = near(attends, place[:, tf.newaxis] - place, self.window)
        return attends


def near(attends: tf.Tensor, distance: tf.Tensor, window: int) -> tf.Tensor:
    """Where `attends` holds and the distance is within the window.

    As numbers: a table of truth values known when traced would be written into the program, in a form that
    not every reader of StableHLO knows.
    """
    return tf.where(attends, tf.abs(distance), tf.int32.max) <= window
