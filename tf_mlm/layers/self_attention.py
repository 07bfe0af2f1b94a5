"""Multi-head self-attention over sequences of known lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import tensorflow as tf

from tf_mlm.layers.attention_blocks import Dropout
from tf_mlm.layers.attention_mask import AttentionMask
from tf_mlm.layers.block_attention import block_attention, takes_blocks
from tf_mlm.layers.dense import Dense
from tf_mlm.layers.dropout import dropout
from tf_mlm.layers.onednn import fused_scores, takes_onednn
from tf_mlm.layers.packed import Packed
from tf_mlm.layers.precision import Precision
from tf_mlm.layers.recompute import either


def length_mask(lengths: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Bool [batch, length], true at the first `lengths` positions of each row."""
    return tf.range(length)[tf.newaxis, :] < tf.cast(lengths, tf.int32)[:, tf.newaxis]


class ScoreBias(Protocol):
    """What attention adds to its scores; `parts` sums of products make a score, and scale it down."""

    parts: int

    def __call__(self, query: tf.Tensor, key: tf.Tensor, query_key_value: Dense) -> tf.Tensor:
        """From query and key [batch, heads, length, size]: [batch or 1, heads, length, length]."""


class SelfAttention(tf.Module):
    """Every position attends to the real positions of its own text (https://arxiv.org/abs/1706.03762).

    The result is what the heads read, side by side; the output projection belongs to the block, so
    that it need not run at positions nobody asked for.

    Shapes:
        x: float [batch, length, hidden]; mask: bool [batch, length], true at real tokens; packed: which
        document of a row each position belongs to, where rows hold several: they do not see each other.
        result: [batch, length, hidden].

    Long texts are read in blocks (`tf_mlm.layers.block_attention`), with the same result.

    Args:
        hidden: size of the last axis.
        heads: number of heads; must divide `hidden`.
        dropout_rate: share of attention weights that training drops.
        use_bias: whether queries, keys and values have a bias.
        rotation: turns queries and keys [batch, heads, length, size] by their positions: those that are
            given, int32 [batch, length], or from 0.
        rotates_values: turn the values, too.
        bias: what is added to the scores for the distances of positions.
        window: how many tokens on either side a position attends to; all unless given.
        longest: the most tokens of a text, where there is a limit.
        kernel_initializer: for the query, key and value kernels.
        dtype: policy of the variables and the arithmetic; softmax always runs in float32 or better.

    Raises:
        ValueError: when `heads` does not divide `hidden`.

    Example:
        >>> attention = SelfAttention(8, heads=2)
        >>> attention(tf.ones([1, 3, 8]), tf.constant([[True, True, False]])).shape
        TensorShape([1, 3, 8])
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        dropout_rate: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        *,
        use_bias: bool = True,
        rotation: Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor] | None = None,
        rotates_values: bool = False,
        bias: ScoreBias | None = None,
        window: int | None = None,
        longest: int | None = None,
        name: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name)
        if heads < 1 or hidden % heads:
            raise ValueError(
                "`heads` must be at least 1 and divide `hidden`. "
                f"Received: heads={heads}, hidden={hidden}. Choose a number of heads that divides it."
            )
        self.precision = Precision.of(dtype)
        self.heads, self.hidden = heads, hidden
        self.dropout_rate = dropout_rate
        self.rotation, self.rotates_values, self.bias = rotation, rotates_values, bias
        self.window, self.longest = window, longest
        # One product for query, key and value: [hidden, 3 * hidden] uses the processor better than three.
        self.query_key_value = Dense(
            hidden,
            3 * hidden,
            kernel_initializer=kernel_initializer,
            use_bias=use_bias,
            name="query_key_value",
            dtype=self.precision,
        )

    def __call__(
        self,
        x: tf.Tensor,
        mask: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
        packed: Packed | None = None,
    ) -> tf.Tensor:
        batch, length = tf.shape(x)[0], tf.shape(x)[1]
        size = self.hidden // self.heads
        split = tf.reshape(self.query_key_value(x), [batch, length, 3, self.heads, size])
        query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))  # [batch, heads, length, size]
        if self.rotation is not None:
            place = self._places(mask) if packed is None else packed.position_ids
            query, key = self.rotation(query, place), self.rotation(key, place)
            value = self.rotation(value, place) if self.rotates_values else value
        attention_mask = AttentionMask.of(mask, None if packed is None else packed.documents, self.window)
        dropped = Dropout(self.dropout_rate, dropout_seed)
        bias = None if self.bias is None else self.bias(query, key, self.query_key_value)
        scale = (size * (1 if self.bias is None else self.bias.parts)) ** -0.5

        def whole(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
            return self._whole(query, key, value, scale, attention_mask, dropped, bias)

        def blocks(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
            statistics = self.precision.statistics
            scaled = query * scale
            return block_attention(scaled, key, value, attention_mask, dropped, statistics=statistics)

        longest = self.longest if x.shape[1] is None else x.shape[1]
        if self.bias is not None or (longest is not None and not takes_blocks(longest, self.window)):
            context = whole(query, key, value)
        elif x.shape[1] is not None:
            context = blocks(query, key, value)
        else:
            context = either(takes_blocks(length, self.window), blocks, whole, query, key, value)
        context = tf.transpose(context, [0, 2, 1, 3])  # [batch, length, heads, size]
        return tf.ensure_shape(tf.reshape(context, [batch, length, self.hidden]), x.shape)

    def _places(self, mask: tf.Tensor) -> tf.Tensor | None:
        """Positions from 0 on; None says the same for short texts.

        For long ones they hang on the mask: TensorFlow would else write tables of sines into the program,
        some megabytes for each layer.
        """
        length = mask.shape[1]
        if length is None or not takes_blocks(length, self.window):
            return None
        return tf.range(length)[tf.newaxis] + tf.minimum(tf.cast(mask[:1, :1], tf.int32), 0)

    def _whole(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        scale: float,
        attention_mask: AttentionMask,
        dropped: Dropout,
        bias: tf.Tensor | None,
    ) -> tf.Tensor:
        """All positions with all others at once: [batch, heads, length, size]."""
        statistics, attends = self.precision.statistics, attention_mask.of_pairs()
        # A large finite number and not -inf: a row without any real token must not become NaN.
        least = tf.constant(-1e9, statistics)
        if takes_onednn() and bias is None and query.dtype == tf.float32:
            scores = fused_scores(query, key, scale, tf.where(attends, 0.0, least))
        else:
            scores = tf.matmul(query * scale, key, transpose_b=True)  # [batch, heads, length, length]
            scores = tf.cast(scores, statistics)
            if bias is not None:
                scores += tf.cast(bias, scores.dtype)
            scores = tf.where(attends, scores, least)
        weights = dropout(self.precision.cast(tf.nn.softmax(scores)), *dropped)
        return tf.matmul(weights, value)
