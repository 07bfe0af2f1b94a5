"""The shapes that compiled programs are made for."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from tf_mlm.config.rules import require


def check_buckets(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """Bucket sizes as an ascending tuple of distinct positive integers, or a `ConfigError`."""
    buckets = tuple(sizes)
    require(
        bool(buckets) and all(isinstance(size, int) and size >= 1 for size in buckets),
        f"`{name}` buckets must be one or more whole numbers of at least 1.",
        **{name: buckets},
    )
    require(
        all(a < b for a, b in itertools.pairwise(buckets)),
        f"`{name}` buckets must be in strictly ascending order; sort them and drop repeats.",
        **{name: buckets},
    )
    return buckets


@dataclasses.dataclass(frozen=True)
class Buckets:
    """The shapes XLA may see. Everything else is rounded up to one of them in the graph.

    `batch` and `length` bound the encoder. `masks` bounds the head: it counts the masked
    positions of a whole request, over all its texts.
    """

    batch: tuple[int, ...] = (1, 4, 16, 32)
    length: tuple[int, ...] = (16, 32, 64, 128)
    masks: tuple[int, ...] = (1, 4, 16, 64)

    def __post_init__(self) -> None:
        for name in ("batch", "length", "masks"):
            object.__setattr__(self, name, check_buckets(name, getattr(self, name)))
