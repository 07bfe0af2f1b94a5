"""Words of several tokens: chosen whole for masking, and where each of them ends."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_mlm.text.vocabulary import Vocabulary


def word_ends(token_ids: tf.Tensor, vocabulary: Vocabulary) -> tf.Tensor:
    """Where the word of each token ends.

    Args:
        token_ids: int32 [batch, length].
        vocabulary: says which tokens continue a word.

    Returns:
        int32 [batch, length], the position of the last token of the word that the token is of.

    Example:
        >>> from tf_mlm.text.vocabulary import Vocabulary
        >>> words = Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "##s"])
        >>> word_ends(tf.constant([[2, 5, 6, 7, 5, 3]]), words).numpy().tolist()
        [[0, 3, 3, 3, 4, 5]]
    """
    continues = np.zeros(vocabulary.size, bool)
    continues[list(vocabulary.continuation_ids)] = True
    shape = tf.shape(token_ids)
    words = tf.cumsum(tf.cast(~tf.gather(continues, token_ids), tf.int32), 1)
    segments = tf.reshape(words + tf.range(shape[0])[:, tf.newaxis] * (shape[1] + 1), [-1])
    positions = tf.broadcast_to(tf.range(shape[1]), shape)
    ends = tf.math.unsorted_segment_max(tf.reshape(positions, [-1]), segments, shape[0] * (shape[1] + 1))
    return tf.reshape(tf.gather(ends, segments), shape)


def select_words(
    continues: tf.Tensor, selectable: tf.Tensor, counts: tf.Tensor, draws: tf.Tensor
) -> tf.Tensor:
    """The tokens of words that are taken in random order, each if it still fits.

    Args:
        continues: bool [batch, length], whether a token continues the word of the one before.
        selectable: bool [batch, length]; a word is taken if all its tokens are.
        counts: int32 [batch, 1], the most tokens to take of each row.
        draws: float32 [batch, length], a finite number for each word of a row; the smallest comes first.

    Returns:
        bool [batch, length].
    """
    shape = tf.shape(continues)
    after_selectable = tf.pad(selectable, [[0, 0], [1, 0]])[:, :-1]
    words = tf.cumsum(tf.cast(~(continues & after_selectable), tf.int32), 1) - 1

    def per_word(of_token: tf.Tensor) -> tf.Tensor:  # sums; there are at most as many words as tokens
        segments = words + tf.range(shape[0])[:, tf.newaxis] * shape[1]
        sums = tf.math.unsorted_segment_sum(
            tf.reshape(of_token, [-1]), tf.reshape(segments, [-1]), tf.size(words)
        )
        return tf.reshape(sums, shape)

    sizes = per_word(tf.ones_like(words))
    is_whole = (sizes > 0) & (per_word(tf.cast(selectable, tf.int32)) == sizes)
    order = tf.argsort(tf.where(is_whole, draws, float("inf")), 1)
    never = shape[1] + 1
    sizes = tf.gather(tf.where(is_whole, sizes, never), order, batch_dims=1)

    # One pass takes words up to the first that is too long for what is left, and the next pass
    # goes on behind it, until nothing fits: the same as one word at a time, in a few passes.
    def fits(left: tf.Tensor, taken: tf.Tensor) -> tf.Tensor:
        return ~taken & (sizes <= left)

    def take(left: tf.Tensor, taken: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        wanted = tf.where(fits(left, taken), sizes, 0)
        more = (wanted > 0) & (tf.cumsum(wanted, 1) <= left)
        return left - tf.reduce_sum(tf.where(more, wanted, 0), 1, keepdims=True), taken | more

    _, taken = tf.while_loop(
        lambda left, taken: tf.reduce_any(fits(left, taken)), take, (counts, tf.zeros(shape, tf.bool))
    )
    rows = tf.broadcast_to(tf.range(shape[0])[:, tf.newaxis], shape)
    taken = tf.scatter_nd(tf.stack([rows, order], 2), tf.cast(taken, tf.int32), shape)  # in text order again
    return tf.gather(taken, words, batch_dims=1) > 0
