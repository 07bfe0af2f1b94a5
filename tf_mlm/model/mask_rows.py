"""Masks of a batch, a different number in each text, as rows."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class MaskRows:
    """Masks of a batch as flat rows, and answers for the rows back in [batch, masks, ...].

    Args:
        mask_positions: int32 [batch, masks], -1 where a text has fewer masks.

    Attributes:
        shape: int32 [2].
        indices: int64 [rows, 2], text of each mask, and which of its masks it is.
        texts: int32 [rows], the text of each.
        positions: int32 [rows], where it stands in its text.

    Example:
        >>> masks = MaskRows(tf.constant([[1, 4], [2, -1]]))
        >>> masks.texts.numpy().tolist(), masks.positions.numpy().tolist()
        ([0, 0, 1], [1, 4, 2])
        >>> masks.scatter(tf.constant([[7], [8], [9]]), 0)[..., 0].numpy().tolist()
        [[7, 8], [9, 0]]
    """

    def __init__(self, mask_positions: tf.Tensor) -> None:
        self.shape = tf.shape(mask_positions)
        self.indices = tf.where(mask_positions >= 0)  # [rows, 2]
        self.texts = tf.cast(self.indices[:, 0], tf.int32)
        self.positions = tf.gather_nd(mask_positions, self.indices)

    def scatter(self, rows: tf.Tensor, default: Any) -> tf.Tensor:
        """[rows, k] → [batch, masks, k], with `default` where a text has fewer masks."""
        shape = tf.concat([self.shape, tf.shape(rows)[1:]], 0)
        return tf.tensor_scatter_nd_update(
            tf.fill(shape, tf.cast(default, rows.dtype) if rows.dtype != tf.string else default),
            self.indices,
            rows,
        )
