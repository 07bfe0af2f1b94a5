"""Buckets chosen from real texts: the least padded work that a budget of compilations allows.

Work is counted in tokens of the encoder. A text in a length bucket costs the bucket's tokens, and
attention grows with their square; a call costs its rows, padding included, and a constant, as every
weight is read once. How many texts a request has is not in a file of texts, so every number from one
to the largest batch counts the same.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

from tf_mlm.config import Buckets, ModelConfig
from tf_mlm.model.bucketing import CALL, next_chunk
from tf_mlm.model.programs import compilations

STEP = 8
"""Length buckets are multiples of it (or the limit): vector instructions leave no remainder."""
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was chosen.

    Attributes:
        buckets: the sizes.
        programs: how many compilations they need.
        padding: expected work over that of programs of exactly the right sizes, minus 1.
    """

    buckets: Buckets
    programs: int
    padding: float


def calibrate(
    lengths: Sequence[int],
    masks: Sequence[int],
    config: ModelConfig,
    *,
    programs: int,
    limit: int | None = None,
    largest_batch: int = 32,
) -> Calibration:
    """The buckets of least expected work.

    Args:
        lengths: tokens of each text, special ones included.
        masks: masked positions of each text; a text without any counts as one.
        config: sizes of the model, for what attention and the head cost beside the rest.
        programs: at most so many compilations, `len(batch) * len(length) + 4 * len(masks)`.
        limit: the longest text to serve (default: the model's). It is always a bucket, since texts
            beyond the largest one are refused, or read in windows of its size.
        largest_batch: texts of one program.

    Raises:
        ValueError: without texts, or for a budget too small for any choice.

    Example:
        >>> found = calibrate([12, 14, 15, 60], [1, 1, 1, 1], ModelConfig(), programs=12)
        >>> found.buckets.length, found.programs <= 12
        ((16, 64, 512), True)
    """
    if not lengths:
        raise ValueError("Calibration needs at least one text. Received: none. Check the file.")
    limit = limit or config.max_length
    lengths = [min(length, limit) for length in lengths]
    work = work_of_a_text(config)
    exact = sum(map(work, lengths)) / len(lengths)
    by_count = list(_length_choices(lengths, limit, work, programs))
    mean_masks = sum(max(count, 1) for count in masks) / len(masks)
    rows = [round(texts * mean_masks) for texts in range(1, largest_batch + 1)]
    batches = range(1, largest_batch + 1)
    batch_choices = [(sizes, *_chunks(batches, sizes)) for sizes in _subsets(largest_batch)]
    best: tuple[float, Buckets] | None = None
    for mask_sizes in _subsets(max(rows)):
        mask_calls, mask_rows = _chunks(rows, mask_sizes)
        head = _head_tokens(config) * (CALL * mask_calls + mask_rows)
        for batch_sizes, calls, padded_rows in batch_choices:
            room = (programs - 4 * len(mask_sizes)) // len(batch_sizes)
            if room < 1:
                continue
            length_sizes, padded = by_count[min(room, len(by_count)) - 1]
            total = head + CALL * calls + padded_rows * padded
            if best is None or total < best[0]:
                best = (total, Buckets(batch_sizes, length_sizes, mask_sizes))
    if best is None:
        raise ValueError(
            f"One size of each kind needs 5 programs. Received: a budget of {programs}. Allow more."
        )
    total, buckets = best
    unpadded = CALL + exact * sum(batches) / len(batches)
    unpadded += _head_tokens(config) * (CALL + sum(rows) / len(rows))
    return Calibration(buckets, compilations(buckets), total / unpadded - 1)


def length_buckets(
    lengths: Sequence[int], limit: int, count: int, work: Callable[[int], float]
) -> tuple[tuple[int, ...], float]:
    """At most `count` sizes up to `limit` that hold all lengths with the least mean `work(size)`.

    Exact: the cheapest way to cover the shorter candidates with one size less, for every candidate
    that may be the largest but one, and so on down.

    Example:
        >>> length_buckets([3, 3, 3, 100], 128, 3, float)
        ((8, 104, 128), 32.0)
    """
    counts = collections.Counter(min(-(-length // STEP) * STEP, limit) for length in lengths)
    sizes = sorted({*counts, limit})
    below = list(itertools.accumulate((counts[size] for size in sizes), initial=0))
    # cheapest[j]: (cost, sizes) that cover candidates 0..j with sizes[j] as the largest.
    cheapest: list[tuple[float, tuple[int, ...]]] = [
        (below[j + 1] * work(size), (size,)) for j, size in enumerate(sizes)
    ]
    for _ in range(count - 1):
        cheapest = [
            min(
                cheapest[j],
                *(
                    (cost + (below[j + 1] - below[i + 1]) * work(size), (*chosen, size))
                    for i, (cost, chosen) in enumerate(cheapest[:j])
                ),
                key=lambda choice: (choice[0], len(choice[1])),
            )
            if j
            else cheapest[0]
            for j, size in enumerate(sizes)
        ]
    cost, chosen = cheapest[-1]
    return chosen, cost / len(lengths)


def _length_choices(
    lengths: Sequence[int], limit: int, work: Callable[[int], float], most: int
) -> Iterator[tuple[tuple[int, ...], float]]:
    """The best sizes for one bucket, two buckets, ..., until more change nothing."""
    chosen: tuple[int, ...] = ()
    for count in range(1, most + 1):
        found, cost = length_buckets(lengths, limit, count, work)
        if found == chosen:
            return
        chosen = found
        yield found, cost


def _subsets(largest: int) -> Iterator[tuple[int, ...]]:
    """Every choice of sizes that ends with `largest`."""
    smaller = [size for size in _SIZES if size < largest]
    for count in range(len(smaller) + 1):
        for chosen in itertools.combinations(smaller, count):
            yield (*chosen, largest)


def _chunks(requests: Sequence[int], sizes: tuple[int, ...]) -> tuple[float, float]:
    """Mean calls and mean rows, padding included, of requests that run as `in_chunks` cuts them."""
    calls = rows = 0
    for remaining in requests:
        while remaining > 0:
            size = next_chunk(remaining, sizes)
            calls, rows, remaining = calls + 1, rows + size, remaining - size
    return calls / len(requests), rows / len(requests)


def work_of_a_text(config: ModelConfig) -> Callable[[int], float]:
    """Tokens that a text costs; each attends to as many, beside the products with the weights."""
    hidden = config.hidden_size
    dense = 4 * hidden * hidden + 2 * hidden * config.intermediate_size
    return lambda length: length * (1 + 2 * hidden * length / dense)


def _head_tokens(config: ModelConfig) -> float:
    """What a masked position costs in the head, in tokens of the encoder."""
    hidden = config.hidden_size
    token = config.num_hidden_layers * (4 * hidden * hidden + 2 * hidden * config.intermediate_size)
    return config.token_embedding_size * (config.vocab_size + hidden) / token
