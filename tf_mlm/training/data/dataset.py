"""Rows of token ids to masked batches. Order and masks are pure functions of (seed, step).

Nothing is remembered between steps, so a resumed run sees exactly what an uninterrupted one would
have seen. Masks are drawn for the global batch and then cut, so they do not depend on how many
workers share it; a worker reads only its own rows' share of the batch into the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mlm.errors import ConfigError
from tf_mlm.text.masking import MaskedLMMaskGenerator
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.training.batch_warmup import BatchWarmup
from tf_mlm.training.data.token_store import StoredRows
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.step import Batch

ROWS_PER_CALL = 4096
EVALUATION_SEED = 0
"""The masks of an evaluation do not follow the run's seed, so that runs can be compared."""


def mask_generator(vocabulary: Vocabulary, config: TrainConfig, *, seed: int) -> MaskedLMMaskGenerator:
    """The generator that `config` describes; special tokens are never selected."""
    return MaskedLMMaskGenerator(
        vocabulary.size,
        max(config.mask_rates),
        vocabulary.mask_id,
        config.masks,
        vocabulary.special_ids,
        config.mask_token_rate,
        config.random_token_rate,
        seed=seed,
        whole_word=config.whole_word,
        continuation_token_ids=vocabulary.continuation_ids if config.whole_word else None,
    )


class RowOrder:
    """Which rows a step reads: each epoch is a new permutation of all rows, and none is left out.

    Args:
        rows: those of one worker, or of all.
        batch_size: how many of them a step reads.
        seed: of all permutations.
        warmup: a step that computes fewer rows than it reads leaves the others to the next one.

    Example:
        >>> from tf_mlm.training.data.dataset import RowOrder
        >>> from tf_mlm.training.data.token_store import Rows
        >>> order = RowOrder(Rows(np.zeros([5, 8], np.uint16), np.full(5, 8)), batch_size=3, seed=1)
        >>> sorted(int(row) for row in [*order(0), *order(1)][:5])
        [0, 1, 2, 3, 4]
    """

    def __init__(
        self, rows: StoredRows, batch_size: int, seed: int, warmup: BatchWarmup | None = None
    ) -> None:
        if rows.total < batch_size:
            raise ConfigError(
                "The training rows must fill one batch. "
                f"Received: {rows.total} rows and batch_size={batch_size}. Lower `batch_size` or `length`, "
                "or add text."
            )
        self._rows, self.batch_size, self.seed = rows, batch_size, seed
        self._warmup = warmup or BatchWarmup(batch_size, batch_size, batch_size)

    def __call__(self, step: int) -> np.ndarray:
        """int64 [batch]: the rows of `step`, which may straddle two epochs."""
        # The warm-up counts the rows of all workers; these may be those of one.
        before = self._warmup.rows_before(step) * self.batch_size // self._warmup.last
        places = np.arange(before, before + self.batch_size)
        epochs, places = np.divmod(places, self._rows.total)
        return np.concatenate(
            [self._rows.order(self.seed, int(e), places[epochs == e]) for e in np.unique(epochs)]
        )


def mask_rate(config: TrainConfig, step: int, steps: int, start: int = 0) -> float:
    """The share of tokens that is predicted at a step: on a straight line from the first rate to the last.

    The first is that of step `start`, the last that of the step before `steps`.

    Example:
        >>> from tf_mlm.training.data.dataset import mask_rate
        >>> config = TrainConfig(mask_rate="0.3:0.1")
        >>> [round(mask_rate(config, step, 11), 2) for step in (0, 5, 10)]
        [0.3, 0.2, 0.1]
    """
    first, last = config.mask_rates
    return first + (last - first) * min(1.0, (step - start) / max(1, steps - 1 - start))


def training_batches(
    rows: StoredRows,
    vocabulary: Vocabulary,
    config: TrainConfig,
    *,
    first_step: int,
    steps: int,
    start: int = 0,
) -> tf.data.Dataset:
    """The batches of steps `first_step` to `steps` - 1, as `Batch`es of static shape.

    They are the global ones, or, from shards that each worker has its own of, the share of this one.

    Args:
        rows: packed token ids.
        vocabulary: for the ids of mask and special tokens.
        config: batch size, masks, seed.
        first_step: where to begin; a resumed run begins where it stopped.
        steps: where to end.
        start: the first step of the whole run, at which the mask rate has its first value.
    """
    worker, workers = rows.parts
    size = config.batch_size // workers
    order = RowOrder(rows, size, config.seed, config.rows_of_steps)
    generator = mask_generator(vocabulary, config, seed=config.seed)
    if config.masking == "static":
        once = _mask_once(generator, rows, config)
        return tf.data.Dataset.from_generator(
            lambda: (Batch(*(x[order(step)] for x in once)) for step in range(first_step, steps)),
            output_signature=Batch(*(tf.TensorSpec([size, *x.shape[1:]], x.dtype) for x in once)),
        )

    def read() -> Iterator[tuple[Any, ...]]:
        for step in range(first_step, steps):
            # Workers draw other masks for their shares, as they would be of one global batch.
            place = step * workers + worker
            yield place, mask_rate(config, step, steps, start), *_columns(rows, order(step))

    signature = (
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([], tf.float32),
        tf.TensorSpec([size, config.length], tf.int32),
        tf.TensorSpec([size], tf.int32),
        tf.TensorSpec([size, config.length if rows.is_packed else 0], tf.int32),
    )

    @tf.autograph.experimental.do_not_convert  # there is nothing to convert, and it takes seconds
    def masked(step: tf.Tensor, rate: tf.Tensor, *columns: tf.Tensor) -> Batch:
        return _masked(generator, step, columns, config, rate)

    dataset = tf.data.Dataset.from_generator(read, output_signature=signature)
    return dataset.map(masked, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _columns(rows: StoredRows, chosen: Any) -> tuple[np.ndarray, ...]:
    """Ids, lengths and places of the chosen rows; the places are [rows, 0] where there are none."""
    token_ids, lengths, position_ids = rows.take(chosen)
    if position_ids is None:
        position_ids = np.zeros([len(lengths), 0], np.int32)
    return token_ids, lengths, position_ids


def _mask_once(generator: MaskedLMMaskGenerator, rows: StoredRows, config: TrainConfig) -> list[np.ndarray]:
    """All rows with one set of masks each: the fields of a `Batch`, as arrays in memory."""
    masked = tf.function(
        lambda step, *columns: _masked(generator, step, columns, config),
        reduce_retracing=True,
        autograph=False,
    )
    parts = []
    for first in range(0, rows.total, ROWS_PER_CALL):
        columns = _columns(rows, slice(first, first + ROWS_PER_CALL))
        parts.append(masked(tf.constant(first, tf.int64), *(tf.constant(x) for x in columns)))
    return [np.concatenate([x.numpy() for x in column]) for column in zip(*parts, strict=True)]


def share_of(
    dataset: tf.data.Dataset,
    context: tf.distribute.InputContext,
    *,
    of_worker: bool = False,
    parts: int = 1,
) -> tf.data.Dataset:
    """The batches of each replica of one worker, in turn, cut from the global ones, or from its own.

    With several `parts`, consecutive ones of a batch, each replica gets its share of each of them.
    """
    replicas = context.num_replicas_in_sync
    own = replicas // context.num_input_pipelines
    first = context.input_pipeline_id * own
    if of_worker:
        replicas, first = own, 0
    if replicas == 1:
        return dataset.prefetch(4)

    @tf.autograph.experimental.do_not_convert
    def cut(batch: Batch) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(Batch(*(own_share(x) for x in batch if x is not None)))

    def own_share(x: tf.Tensor) -> tf.Tensor:
        shares = tf.reshape(x, [parts, replicas, x.shape[0] // (parts * replicas), *x.shape[1:]])
        of_replicas = tf.stack(tf.unstack(shares, axis=1)[first : first + own])
        return tf.reshape(of_replicas, [own, x.shape[0] // replicas, *x.shape[1:]])

    return dataset.flat_map(cut).prefetch(4)


def evaluation_batches(
    rows: StoredRows, vocabulary: Vocabulary, config: TrainConfig, *, seed: int = EVALUATION_SEED
) -> Iterator[Batch]:
    """Up to `evaluation_rows` rows, spread evenly, with the same masks whenever the seed is the same.

    The last batch is filled up by copies of its first row with weight 0: every shape is static. Where the
    mask rate changes in training, its last value counts here.
    """
    config = dataclasses.replace(config, mask_rate=config.mask_rates[1])
    generator = mask_generator(vocabulary, config, seed=seed)
    count, size = min(rows.total, config.evaluation_rows), config.batch_size
    chosen = np.linspace(0, rows.total - 1, count).astype(int)
    for index in range(-(-count // size)):
        part = chosen[index * size : (index + 1) * size]
        padded = np.concatenate([part, np.repeat(part[:1], size - len(part))])
        columns = [tf.constant(x) for x in _columns(rows, padded)]
        batch = _masked(generator, tf.constant(index, tf.int64), columns, config)
        real = tf.cast(tf.range(size) < len(part), tf.float32)[:, tf.newaxis]
        yield batch._replace(mask_weights=batch.mask_weights * real)


def _masked(
    generator: MaskedLMMaskGenerator,
    step: tf.Tensor,
    columns: Sequence[tf.Tensor],
    config: TrainConfig,
    rate: tf.Tensor | None = None,
) -> Batch:
    token_ids, lengths, position_ids = columns
    batch, length = token_ids.shape
    first, last = config.mask_rates
    masked = generator(token_ids, step=step, rate=None if first == last else rate)
    return Batch(
        token_ids=tf.ensure_shape(tf.cast(masked["token_ids"], tf.int32), [batch, length]),
        lengths=lengths,
        mask_positions=tf.ensure_shape(tf.cast(masked["mask_positions"], tf.int32), [batch, config.masks]),
        mask_ids=tf.ensure_shape(tf.cast(masked["mask_ids"], tf.int32), [batch, config.masks]),
        mask_weights=tf.ensure_shape(tf.cast(masked["mask_weights"], tf.float32), [batch, config.masks]),
        position_ids=position_ids,
    )
