"""Windows of texts that are longer than the model's limit; a shorter text is one window, the whole of it.

A window is `[CLS] tokens [SEP]`, as if its tokens were the whole text. Two rules say where windows lie:

* **centred**: one for a token of interest (a mask, or the token to be scored), which stands in its middle;
  near the ends of the text the window moves inwards, so that it is always full. Every token has as much
  context as fits.
* **overlapping**: the text is covered by windows that each overlap the one before by half, and each token
  is read in the window in whose middle it stands best.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Windows(NamedTuple):
    """Rows for the encoder.

    Attributes:
        texts: int32 [windows], which text each is of.
        starts: int32 [windows], how many tokens of the text stand before it.
        lengths: int32 [windows], its tokens, [CLS] and [SEP] included.
    """

    texts: tf.Tensor
    starts: tf.Tensor
    lengths: tf.Tensor


def centred(lengths: tf.Tensor, positions: tf.Tensor, limit: int) -> tf.Tensor:
    """Where the windows around tokens begin.

    Args:
        lengths: int32 [tokens], tokens of the text that each is of, [CLS] and [SEP] included.
        positions: int32 [tokens], where it stands in its text; 0 is [CLS].
        limit: tokens of a window, [CLS] and [SEP] included.

    Returns:
        int32 [tokens], how many tokens of the text stand before the window.

    Example:
        >>> centred(tf.constant([9] * 7), tf.range(1, 8), limit=5).numpy().tolist()
        [0, 0, 1, 2, 3, 4, 4]
    """
    room = limit - 2
    return tf.clip_by_value(positions - 1 - room // 2, 0, tf.maximum(lengths - limit, 0))


def shared(texts: tf.Tensor, starts: tf.Tensor, lengths: tf.Tensor, limit: int) -> tuple[Windows, tf.Tensor]:
    """Each distinct window once, and which of them each of `texts` and `starts` [tokens] is.

    Args:
        texts: int32 [tokens].
        starts: int32 [tokens].
        lengths: int32 [batch], tokens of each text.
        limit: tokens of a window.
    """
    keys = tf.cast(texts, tf.int64) * 2**31 + tf.cast(starts, tf.int64)
    distinct, which = tf.unique(keys)
    texts, starts = tf.cast(distinct // 2**31, tf.int32), tf.cast(distinct % 2**31, tf.int32)
    return Windows(texts, starts, tf.minimum(tf.gather(lengths, texts), limit)), which


def overlapping(
    lengths: tf.Tensor, texts: tf.Tensor, positions: tf.Tensor, limit: int
) -> tuple[Windows, tf.Tensor]:
    """Windows that cover whole texts, and the one that each token is read in.

    Args:
        lengths: int32 [batch], tokens of each text, [CLS] and [SEP] included.
        texts: int32 [tokens], the text of each token.
        positions: int32 [tokens], where it stands in its text.
        limit: tokens of a window.

    Returns:
        The windows, and int32 [tokens], one of them for each token.

    Example:
        >>> windows, which = overlapping(tf.constant([11]), tf.zeros([11], tf.int32), tf.range(11), limit=6)
        >>> windows.starts.numpy().tolist(), which.numpy().tolist()
        ([0, 2, 4, 5], [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3])
    """
    room = limit - 2
    stride = max(room // 2, 1)
    spare = tf.maximum(lengths - limit, 0)  # tokens that the first window leaves
    counts = 1 + (spare + stride - 1) // stride
    firsts = tf.cumsum(counts, exclusive=True)
    owners = tf.repeat(tf.range(tf.size(lengths)), counts)
    nth = tf.range(tf.size(owners)) - tf.gather(firsts, owners)
    windows = Windows(
        owners,
        tf.minimum(nth * stride, tf.gather(spare, owners)),
        tf.minimum(tf.gather(lengths, owners), limit),
    )
    # Twice the distance of a token from the middle of the text's first window; the others follow evenly,
    # all but the last one, which ends with the text.
    middle = 2 * positions - 1 - room
    last = tf.gather(counts, texts) - 1
    nearest = tf.clip_by_value((middle + stride) // (2 * stride), 0, tf.maximum(last - 1, 0))
    to_nearest = tf.abs(middle - 2 * stride * nearest)
    to_last = tf.abs(middle - 2 * tf.gather(spare, texts))
    return windows, tf.gather(firsts, texts) + tf.where(to_last < to_nearest, last, nearest)


def window_ids(
    token_ids: tf.Tensor, windows: Windows, width: tf.Tensor, *, cls_id: int, sep_id: int, pad_id: int
) -> tf.Tensor:
    """The tokens of windows as dense rows.

    Args:
        token_ids: int32 [batch, length], whole texts.
        windows: [rows] of them.
        width: int32, columns of the result, at least those of the longest window.
        cls_id: stands before each window.
        sep_id: stands behind it.
        pad_id: fills the rest.

    Returns:
        int32 [rows, width].
    """
    place = tf.range(width)[tf.newaxis]
    length = tf.cast(tf.shape(token_ids)[1], tf.int64)
    source = tf.minimum(tf.cast(windows.starts[:, tf.newaxis] + place, tf.int64), length - 1)
    ids = tf.gather(
        tf.reshape(token_ids, [-1]), source + tf.cast(windows.texts, tf.int64)[:, tf.newaxis] * length
    )
    ends = windows.lengths[:, tf.newaxis]
    ids = tf.where(place == ends - 1, sep_id, tf.where(place < ends, ids, pad_id))
    return tf.where((place == 0) & (ends > 0), cls_id, ids)
