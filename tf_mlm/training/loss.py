"""Masked-LM loss: the vocabulary projection and its softmax cross-entropy, as sums over masked positions.

Sums, not means: shards of a batch (replicas, micro-batches) add up to exactly the whole, and one
division by the global weight sum at the end makes the result independent of how it was cut.

`fused_sums` never holds the `[rows, vocab]` logits. It walks over slices of the vocabulary with a
running maximum and normaliser (Milakov & Gimelshein 2018, https://arxiv.org/abs/1805.02867), and
recomputes each slice in the backward pass, in static shapes that XLA compiles on CPU, GPU and TPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mlm.arguments import indices_argument, tensor_argument
from tf_mlm.layers.precision import product

FUSED_BYTES = 256 * 2**20  # logits above this many bytes are worth the second product of the fused form
SLICE_BYTES = (
    16 * 2**20
)  # of logits held at a time: small enough for a last-level cache, large enough for a fast product


class LossSums(NamedTuple):
    """Sums over the rows of one shard; every field float32 of shape [].

    `loss` is weighted cross-entropy in nats, `weight` the number of masked positions, `correct` how
    many of them have their own token as the highest logit.
    """

    loss: tf.Tensor
    weight: tf.Tensor
    correct: tf.Tensor


def plain_sums(
    states: tf.Tensor, table: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
) -> LossSums:
    """Cross-entropy of `states @ table.T + bias` against `targets`, with all logits in memory.

    Args:
        states: [rows, embedding] float, inputs of the vocabulary projection.
        table: [vocab, embedding] float.
        bias: [vocab] float.
        targets: int32 [rows], ids in [0, vocab).
        weights: float32 [rows], 1 for a masked position and 0 for padding.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.training.loss import plain_sums
        >>> states, table, bias = tf.zeros([1, 2]), tf.zeros([4, 2]), tf.zeros([4])
        >>> sums = plain_sums(states, table, bias, tf.constant([3]), tf.ones([1]))
        >>> round(float(sums.loss), 4)  # ln 4
        1.3863
    """
    states, table, bias, targets, weights = _arguments(states, table, bias, targets, weights)
    losses, hits = _cross_entropy(*_product_operands(states, table), tf.cast(bias, tf.float32), targets)
    return _weighted(losses, hits, weights)


def fused_sums(
    states: tf.Tensor,
    table: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    *,
    slice_bytes: int = SLICE_BYTES,
) -> LossSums:
    """`plain_sums` in slices of the vocabulary: same values and gradients, memory of one slice.

    Shapes as in `plain_sums`; the sizes of `states` and `table` must be known when traced.

    Example:
        >>> import tensorflow as tf
        >>> from tf_mlm.training.loss import fused_sums, plain_sums
        >>> arguments = tf.eye(3, 2), tf.eye(5, 2), tf.zeros([5]), tf.constant([0, 1, 4]), tf.ones([3])
        >>> bool(tf.abs(fused_sums(*arguments, slice_bytes=24).loss - plain_sums(*arguments).loss) < 1e-6)
        True
    """
    states, table, bias, targets, weights = _arguments(states, table, bias, targets, weights)
    rows, vocab = states.shape[0], table.shape[0]
    if rows is None or vocab is None:
        raise ValueError(
            "The fused loss needs a known number of rows and vocabulary entries: it cuts them into slices "
            f"when traced. Received: states {states.shape}, table {table.shape}. Fix the batch size or use "
            "`plain_sums`."
        )
    # The gradient flows through the per-row losses only; the best ids come along for the accuracy.
    losses, best = _sliced_cross_entropy(rows, _Slices(vocab, rows, slice_bytes))(
        *_product_operands(states, table), tf.cast(bias, tf.float32), targets
    )
    return _weighted(losses, tf.equal(best, tf.cast(targets, tf.int32)), weights)


def _arguments(states: Any, table: Any, bias: Any, targets: Any, weights: Any) -> tuple[tf.Tensor, ...]:
    """The arguments of a loss as tensors that fit together, or a `ValueError` that names one."""
    states = tensor_argument(states, "states", "floating point", "[rows, embedding]")
    table = tensor_argument(table, "table", "floating point", "[vocab, embedding]")
    bias = tensor_argument(bias, "bias", "floating point", "[vocab]")
    targets = indices_argument(targets, "targets", "[rows]")
    weights = tf.cast(tensor_argument(weights, "weights", "numbers", "[rows]"), tf.float32)
    for name, size, other, wanted in (
        ("table", table.shape[1:], "states", states.shape[1:]),
        ("bias", bias.shape, "table", table.shape[:1]),
        ("targets", targets.shape, "states", states.shape[:1]),
        ("weights", weights.shape, "states", states.shape[:1]),
    ):
        if not size.is_compatible_with(wanted):
            raise ValueError(f"`{name}` must fit `{other}`: {wanted}. Received: {size}.")
    return states, table, bias, targets, weights


def _product_operands(states: tf.Tensor, table: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Both as the product takes them: bfloat16 where the states are, else float32."""
    dtype = tf.bfloat16 if states.dtype == tf.bfloat16 else tf.float32
    return tf.cast(states, dtype), tf.cast(table, dtype)


def choose_sums(kind: str, rows: int, vocab: int) -> Callable[..., LossSums]:
    """The function for `kind`: plain, fused, or auto, which takes fused where all logits would be large.

    Example:
        >>> from tf_mlm.training.loss import choose_sums
        >>> choose_sums("auto", 640, 30522).__name__, choose_sums("auto", 640, 250000).__name__
        ('plain_sums', 'fused_sums')
    """
    if kind == "auto":
        kind = "fused" if 4 * rows * vocab > FUSED_BYTES else "plain"
    return {"plain": plain_sums, "fused": fused_sums}[kind]


def _weighted(losses: tf.Tensor, hits: tf.Tensor, weights: tf.Tensor) -> LossSums:
    correct = tf.reduce_sum(tf.cast(hits, tf.float32) * weights)
    # The filler of an unused slot may be a token that a bias forbids: its infinite loss counts nothing.
    loss = tf.reduce_sum(tf.math.multiply_no_nan(losses, weights))
    return LossSums(loss, tf.reduce_sum(weights), correct)


@tf.custom_gradient
def _cross_entropy(states, table, bias, targets):  # type: ignore[no-untyped-def]
    """(losses [rows], whether no logit is above the target's [rows]).

    TensorFlow's own softmax cross-entropy gives the same, but an arg max beside it is one more slow
    pass over all logits; here the maximum that the softmax needs anyway answers that question.
    """
    logits = product(states, table, transpose_b=True) + bias
    peak = tf.reduce_max(logits, axis=1)
    normaliser = peak + tf.math.log(tf.reduce_sum(tf.exp(logits - peak[:, tf.newaxis]), axis=1))
    target_logits = tf.gather(logits, targets, batch_dims=1)

    def gradient(loss_gradient: tf.Tensor, hit_gradient: tf.Tensor):  # type: ignore[no-untyped-def]
        del hit_gradient  # truth values have none
        is_target = tf.range(table.shape[0]) == tf.cast(targets, tf.int32)[:, tf.newaxis]
        error = tf.exp(logits - normaliser[:, tf.newaxis]) - tf.cast(is_target, tf.float32)
        error *= loss_gradient[:, tf.newaxis]
        return (
            tf.cast(product(error, table), states.dtype),
            tf.cast(product(error, states, transpose_a=True), table.dtype),
            tf.reduce_sum(error, axis=0),
            None,
        )

    return (normaliser - target_logits, target_logits >= peak), gradient


class _Slices:
    """Equal slices of the vocabulary; when they do not divide it, the last one overlaps its neighbour."""

    def __init__(self, vocab: int, rows: int, slice_bytes: int) -> None:
        least = min(vocab, max(1, -(-4 * rows * vocab // slice_bytes)))
        # A number of slices that divides the vocabulary saves the seam, where one is near.
        self.count = next((n for n in range(least, min(2 * least, vocab) + 1) if vocab % n == 0), least)
        self.size = -(-vocab // self.count)
        self.count = -(-vocab // self.size)
        self.overlap = self.count * self.size - vocab
        self.vocab = vocab

    def start(self, index: tf.Tensor) -> tf.Tensor:
        return tf.minimum(index * self.size, self.vocab - self.size)

    def fresh(self, index: tf.Tensor) -> tf.Tensor:
        """bool [size]: entries that no earlier slice has covered."""
        return self.start(index) + tf.range(self.size) >= index * self.size

    def holds(self, index: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """bool [size, rows]: where the row's target lies, in the slice that covers it first."""
        is_target = (self.start(index) + tf.range(self.size))[:, tf.newaxis] == targets[tf.newaxis, :]
        return is_target & self.fresh(index)[:, tf.newaxis]

    def part(self, index: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
        """[size, embedding]: the entries of the slice."""
        return tf.slice(table, [self.start(index), 0], [self.size, table.shape[1]])

    def logits(self, index: tf.Tensor, states: tf.Tensor, table: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """[size, rows], vocabulary first: as fast as a product with the table gets."""
        logits = product(self.part(index, table), states, transpose_b=True)
        logits += tf.slice(bias, [self.start(index)], [self.size])[:, tf.newaxis]
        return tf.where(self.fresh(index)[:, tf.newaxis], logits, -float("inf")) if self.overlap else logits

    def join(self, parts: tf.TensorArray, tail: list[int]) -> tf.Tensor:
        """The parts [count][size, ...] as one [vocab, ...], without what the last one repeats."""
        if not self.overlap:
            return tf.reshape(parts.stack(), [self.vocab, *tail])
        stacked = parts.stack()
        whole = tf.reshape(stacked[:-1], [(self.count - 1) * self.size, *tail])
        return tf.concat([whole, stacked[-1, self.overlap :]], axis=0)


def _sliced_cross_entropy(rows: int, slices: _Slices) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """(states, table, bias, targets) → (losses [rows], best ids [rows]), with a gradient of its own."""

    @tf.custom_gradient
    def cross_entropy(states, table, bias, targets):  # type: ignore[no-untyped-def]
        targets = tf.cast(targets, tf.int32)
        normaliser, target_logit, best_ids = _forward(rows, slices, states, table, bias, targets)

        def gradient(loss_gradient: tf.Tensor, best_gradient: tf.Tensor):  # type: ignore[no-untyped-def]
            del best_gradient  # ids have none
            return (*_backward(slices, states, table, bias, targets, normaliser, loss_gradient), None)

        return (normaliser - target_logit, best_ids), gradient

    return cross_entropy


def _forward(
    rows: int, slices: _Slices, states: tf.Tensor, table: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """[rows] each: the logarithm of the sum of all exponentials, the target's logit, and the best id."""

    def step(index, peak, total, target_logit, best):  # type: ignore[no-untyped-def]
        logits = slices.logits(index, states, table, bias)
        slice_peak = tf.reduce_max(logits, axis=0)
        slice_best = slices.start(index) + tf.argmax(logits, axis=0, output_type=tf.int32)
        best = tf.where(slice_peak > peak, slice_best, best)
        new_peak = tf.maximum(peak, slice_peak)
        # Minus infinity is less than any peak, even while there is no other.
        shift = tf.where(new_peak > -float("inf"), new_peak, 0.0)
        total = total * tf.exp(peak - shift) + tf.reduce_sum(tf.exp(logits - shift), axis=0)
        found = tf.where(slices.holds(index, targets), logits, 0.0)
        return index + 1, new_peak, total, target_logit + tf.reduce_sum(found, axis=0), best

    zeros = tf.zeros([rows])
    _, peak, total, target_logit, best = tf.while_loop(
        lambda index, *_: index < slices.count,
        step,
        (0, tf.fill([rows], -float("inf")), zeros, zeros, tf.zeros([rows], tf.int32)),
        maximum_iterations=slices.count,
    )
    return peak + tf.math.log(total), target_logit, best


def _backward(
    slices: _Slices,
    states: tf.Tensor,
    table: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    normaliser: tf.Tensor,
    loss_gradient: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Gradients of states, table and bias; the logits of each slice are computed again."""

    def step(index, states_gradient, table_parts, bias_parts):  # type: ignore[no-untyped-def]
        error = tf.exp(slices.logits(index, states, table, bias) - normaliser)
        error -= tf.cast(slices.holds(index, targets), tf.float32)
        error *= loss_gradient
        states_gradient += product(error, slices.part(index, table), transpose_a=True)
        table_parts = table_parts.write(index, product(error, states))
        bias_parts = bias_parts.write(index, tf.reduce_sum(error, axis=1))
        return index + 1, states_gradient, table_parts, bias_parts

    def parts(tail: list[int]) -> tf.TensorArray:
        return tf.TensorArray(tf.float32, slices.count, element_shape=[slices.size, *tail])

    _, states_gradient, table_parts, bias_parts = tf.while_loop(
        lambda index, *_: index < slices.count,
        step,
        (0, tf.zeros(states.shape), parts([table.shape[1]]), parts([])),
        maximum_iterations=slices.count,
    )
    return (
        tf.cast(states_gradient, states.dtype),
        tf.cast(slices.join(table_parts, [table.shape[1]]), table.dtype),
        slices.join(bias_parts, []),
    )
