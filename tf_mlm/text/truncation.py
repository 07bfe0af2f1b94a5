"""Which tokens are kept where two texts have to fit one limit."""

from __future__ import annotations

import tensorflow as tf


def longest_first(first: tf.Tensor, second: tf.Tensor, limit: int) -> tuple[tf.Tensor, tf.Tensor]:
    """How many tokens [batch] to keep of each text so that both fit: the longer one is cut first.

    Example:
        >>> from tf_mlm.text.truncation import longest_first
        >>> kept = longest_first(tf.constant([3, 9]), tf.constant([8, 9]), limit=9)
        >>> [part.numpy().tolist() for part in kept]
        [[3, 4], [6, 5]]
    """
    shorter, longer = tf.minimum(first, second), tf.maximum(first, second)
    # Cut the longer one; when it is down to the shorter one, cut both, the longer one keeping the odd token.
    fits = shorter + longer <= limit
    halved = shorter > limit // 2
    kept_shorter = tf.where(fits, shorter, tf.where(halved, limit // 2, shorter))
    kept_longer = tf.where(fits, longer, limit - kept_shorter)
    is_longer = first > second
    return tf.where(is_longer, kept_longer, kept_shorter), tf.where(is_longer, kept_shorter, kept_longer)
