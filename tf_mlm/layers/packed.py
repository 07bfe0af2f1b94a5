"""Rows that hold several documents: which one each position belongs to, and its place in it."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Packed(NamedTuple):
    """Documents that lie end to end in rows.

    Attributes:
        position_ids: int32 [batch, length], the place of each token in its own document, from 0.
        documents: int32 [batch, length], the number of that document in its row, ascending.

    Example:
        >>> Packed.of(tf.constant([[0, 1, 2, 0, 1]])).documents.numpy().tolist()
        [[1, 1, 1, 2, 2]]
    """

    position_ids: tf.Tensor
    documents: tf.Tensor

    @classmethod
    def of(cls, position_ids: tf.Tensor) -> Packed:
        """From the places alone: a document begins where they are 0."""
        position_ids = tf.cast(position_ids, tf.int32)
        return cls(position_ids, tf.cumsum(tf.cast(position_ids == 0, tf.int32), axis=1))
