"""Positions mixed by a Fourier transform in place of attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.layers.packed import Packed
from tf_mlm.layers.precision import Precision


class FourierMixing(tf.Module):
    """The real part of the discrete Fourier transform over the positions of a text and over its values.

    A transform reads every position, and of padding too. Here each row is transformed over its own length, as
    if it were alone: what a text is answered does not depend on what it is padded to. transformers transforms
    what it is given, padding included, so that its answers for a text differ from batch to batch; they are
    these where nothing is padded, as in its `fill-mask` pipeline.

    The transform is two matrix products, which XLA compiles for any length and which a TPU does fastest
    (Lee-Thorp et al., section 3.3).

    Shapes:
        x: float [batch, length, hidden]; mask: bool [batch, length], true at the first positions of each row.
        result: [batch, length, hidden], zeros behind the end of a row.

    Example:
        >>> mixed = FourierMixing(2)(tf.constant([[[1.0, 0.0], [3.0, 0.0]]]), tf.constant([[True, True]]))
        >>> mixed.numpy().round(3).tolist()
        [[[4.0, 4.0], [-2.0, -2.0]]]

    References:
        Lee-Thorp et al., https://arxiv.org/abs/2105.03824 (FNet).
    """

    def __init__(self, hidden: int, *, name: str | None = None, dtype: Any = "float32") -> None:
        super().__init__(name=name)
        self.precision = Precision.of(dtype)
        turns = np.outer(np.arange(hidden), np.arange(hidden)) % hidden * (2 * math.pi / hidden)
        self._cosines, self._sines = np.cos(turns), np.sin(turns)

    def __call__(
        self,
        x: tf.Tensor,
        mask: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
        packed: Packed | None = None,
    ) -> tf.Tensor:
        assert packed is None, "the encoder refuses rows of several documents"
        statistics = self.precision.statistics
        wide = tf.cast(x, statistics)
        real = tf.tensordot(wide, tf.constant(self._cosines, statistics), 1)
        imaginary = tf.tensordot(wide, tf.constant(self._sines, statistics), 1)
        cosines, sines = _transforms(mask, statistics)
        mixed = tf.matmul(cosines, real) - tf.matmul(sines, imaginary)
        return tf.ensure_shape(self.precision.cast(mixed), x.shape)


def _transforms(mask: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    """Cosines and sines of the transform of each row, [batch, length, length], zeros behind its end."""
    length = tf.shape(mask)[1]
    lengths = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), 1), 1)[:, tf.newaxis, tf.newaxis]
    place = tf.range(length)
    # The remainder first, in whole numbers: the angles of long texts would lose their digits.
    turns = (place[:, tf.newaxis] * place)[tf.newaxis] % lengths
    angles = tf.cast(turns, dtype) * (2 * math.pi / tf.cast(lengths, dtype))
    inside = mask[:, :, tf.newaxis] & mask[:, tf.newaxis, :]
    zero = tf.zeros([], dtype)
    return tf.where(inside, tf.cos(angles), zero), tf.where(inside, tf.sin(angles), zero)
