"""Positions of masked tokens: their one padding convention, and the rows that stand there."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_mlm.arguments import indices_argument

UNUSED = -1
"""The position of a slot that a text does not use, where another of the batch has more masks."""


def positions_argument(positions: Any, name: str = "mask_positions", **more: Any) -> tf.Tensor:
    """Positions as int32 or int64 [batch, masks]; a ragged tensor is padded with `UNUSED`.

    Raises:
        ValueError: if they are not integers of that shape.

    Example:
        >>> positions_argument(tf.ragged.constant([[1, 4], [2]])).numpy().tolist()
        [[1, 4], [2, -1]]
    """
    if isinstance(positions, tf.RaggedTensor) and positions.dtype.is_integer and positions.shape.rank == 2:
        positions = positions.to_tensor(UNUSED)
    return indices_argument(positions, name, "[batch, masks]", **more)


def check_positions(positions: tf.Tensor, length: tf.Tensor | int, name: str = "mask_positions") -> None:
    """Eagerly: an error for a position that is neither in [0, length) nor `UNUSED`. In a graph: nothing.

    There the lookup itself fails on a CPU. XLA and accelerators have no such check and clamp.

    Raises:
        tf.errors.InvalidArgumentError: naming the first such position.
    """
    if not tf.executing_eagerly():
        return
    outside = tf.boolean_mask(
        positions, (positions < UNUSED) | (positions >= tf.cast(length, positions.dtype))
    )
    if outside.shape[0]:
        raise tf.errors.InvalidArgumentError(
            None,
            None,
            f"`{name}` must lie in [0, length) with length={int(length)}, or be {UNUSED} for a slot that is "
            f"not used. Received: {int(outside[0])}.",
        )


def check_states(inputs: tf.Tensor, positions: tf.Tensor, hidden_dim: int | None) -> None:
    """Whether states and positions are what a head of this hidden size, None if not known yet, can take.

    Raises:
        ValueError: for another hidden size, one that nobody knows, or another number of rows.
        tf.errors.InvalidArgumentError: as `check_positions`.
    """
    hidden = inputs.shape[-1] if inputs.shape.rank else None
    if hidden is None and hidden_dim is None:
        raise ValueError(
            "The last axis of `inputs` must be known before the head can make its variables. "
            f"Received: shape={inputs.shape}. Pass `hidden_dim` to the constructor."
        )
    if hidden is not None and hidden_dim is not None and hidden != hidden_dim:
        raise ValueError(
            "The last axis of `inputs` must equal the hidden size that the head was built with. "
            f"Received: shape={inputs.shape}, hidden_dim={hidden_dim}."
        )
    if not inputs.shape[:1].is_compatible_with(positions.shape[:1]):
        raise ValueError(
            "`inputs` and `mask_positions` must have the same batch size. "
            f"Received: inputs.shape={inputs.shape}, mask_positions.shape={positions.shape}."
        )
    check_positions(positions, tf.shape(inputs)[1])


def gather_positions(inputs: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Rows of `inputs` [batch, length, hidden] at `positions` [batch, masks] → [batch, masks, hidden].

    Rows of unused slots (-1) are zeros.

    Example:
        >>> gather_positions(tf.constant([[[5.0], [7.0]]]), tf.constant([[1, -1]])).numpy().tolist()
        [[[7.0], [0.0]]]
    """
    # XLA would clamp -1 to the first position, and a CPU refuse it: it is looked up nowhere.
    rows = tf.gather(inputs, tf.where(positions == UNUSED, tf.zeros_like(positions), positions), batch_dims=1)
    return zero_unused(rows, positions)


def zero_unused(rows: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """`rows` [batch, masks, ...] with zeros, and zero gradients, in the unused slots of `positions`."""
    is_unused = positions == UNUSED
    if tf.executing_eagerly() and not tf.reduce_any(is_unused):
        return rows
    return tf.where(is_unused[..., tf.newaxis], tf.zeros([], rows.dtype), rows)
