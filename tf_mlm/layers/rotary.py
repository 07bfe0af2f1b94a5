"""Rotary position embedding: positions as rotations of queries and keys."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

FREQUENCIES, ANGLES = "frequencies", "angles"
"""What a family keeps of its rotations among its weights."""


def rotary(x: tf.Tensor, theta: float, position_ids: tf.Tensor | None = None) -> tf.Tensor:
    """Each vector turned by its position, first half of it against the second half.

    Args:
        x: float [batch, heads, length, size], of an even size; turned in float32 or better.
        theta: the base of the frequencies.
        position_ids: int32 [batch or 1, length], where they do not count from 0 to the end of each row.

    Example:
        >>> rotary(tf.constant([[[[1.0, 0.0], [1.0, 0.0]]]], tf.float64), 10000.0).numpy().round(2).tolist()
        [[[[1.0, 0.0], [0.54, 0.84]]]]

    References:
        Su et al., https://arxiv.org/abs/2104.09864.
    """
    return Rotary(x.shape[-1], theta)(x, position_ids)


class Rotary(tf.Module):
    """Rotations of one base, computed or kept among the weights as some families do.

    What is kept is never trained: ESM's frequencies may have been rounded once, and RoFormer's sines and
    cosines are a table of as many positions as the model has.

    Shapes:
        x and result: float [batch, heads, length, size]; turned in float32 or better. position_ids: int32
        [batch, length]; from 0 in every row unless they are given.

    Args:
        size: of each head; even.
        theta: the base of the frequencies.
        interleaved: turn neighbours against each other, not the first half against the second.
        stored: None, `frequencies` or `angles`: which of them is a variable.
        positions: how many rows the table of `angles` has.

    Example:
        >>> turn = Rotary(2, 10000.0, stored="frequencies")
        >>> turn(tf.constant([[[[1.0, 0.0], [1.0, 0.0]]]])).numpy().round(2).tolist()
        [[[[1.0, 0.0], [0.5400000214576721, 0.8399999737739563]]]]
        >>> turn.stored.shape, turn.trainable_variables
        (TensorShape([1]), ())
    """

    def __init__(
        self,
        size: int,
        theta: float,
        *,
        interleaved: bool = False,
        stored: str | None = None,
        positions: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.interleaved, self._kind = interleaved, stored
        self._frequencies = theta ** (-np.arange(0, size, 2) / size)
        self.stored: tf.Variable | None = None
        if stored is not None:
            angles = np.arange(positions)[:, np.newaxis] * self._frequencies
            table = np.concatenate([np.sin(angles), np.cos(angles)], -1)
            value = self._frequencies if stored == FREQUENCIES else table
            self.stored = tf.Variable(tf.constant(value, tf.float32), name="stored", trainable=False)

    def __call__(self, x: tf.Tensor, position_ids: tf.Tensor | None = None) -> tf.Tensor:
        dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
        places = tf.range(tf.shape(x)[2]) if position_ids is None else position_ids[:, tf.newaxis]
        sine, cosine = self._turns(places, dtype)
        wide = tf.cast(x, dtype)
        if not self.interleaved:
            first, second = tf.split(wide, 2, axis=-1)
            turned = tf.concat([first * cosine - second * sine, second * cosine + first * sine], -1)
            return tf.cast(turned, x.dtype)
        first, second = wide[..., ::2], wide[..., 1::2]
        pairs = tf.stack([first * cosine - second * sine, second * cosine + first * sine], -1)
        return tf.cast(tf.reshape(pairs, tf.shape(x)), x.dtype)

    def _turns(self, places: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Sines and cosines at places [(batch, 1,) length], each [(batch, 1,) length, size / 2]."""
        if self._kind == ANGLES:
            assert self.stored is not None
            sine, cosine = tf.split(tf.cast(tf.gather(self.stored, places), dtype), 2, axis=-1)
            return sine, cosine
        frequencies = self._frequencies if self.stored is None else self.stored
        angles = tf.cast(places, dtype)[..., tf.newaxis] * tf.cast(frequencies, dtype)
        return tf.sin(angles), tf.cos(angles)
