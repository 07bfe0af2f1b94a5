"""Batch-size warm-up: steps of few rows at first, when gradients agree, and of more as the run goes on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from tf_mlm.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class BatchWarmup:
    """How many rows each step has: a whole number of micro-batches, each number for as many steps.

    A step computes only its own micro-batches, in the same compiled program. All is a function of the step
    alone, in whole numbers, so that a resumed run reads the rows that an uninterrupted one would.

    Attributes:
        first: rows of the first step.
        last: rows from step `steps` on.
        increment: rows of a micro-batch, by which steps grow.
        steps: of the warm-up; 0 where there is none.

    References:
        Warner et al. (ModernBERT), https://arxiv.org/abs/2412.13663, section 2.2.2, whose batches grow so;
        McCandlish et al., https://arxiv.org/abs/1812.06162, on why small ones do at first.

    Example:
        >>> warmup = BatchWarmup.of("2:4", batch_size=6, accumulation=3)
        >>> [warmup.rows(step) for step in range(6)], warmup.rows_before(5)
        ([2, 2, 4, 4, 6, 6], 18)
    """

    first: int
    last: int
    increment: int
    steps: int = 0

    @classmethod
    def of(cls, text: str | None, *, batch_size: int, accumulation: int) -> BatchWarmup:
        """From `ROWS:STEPS`, the rows of the first step and the length of the warm-up; None for no warm-up.

        Raises:
            ConfigError: for another form, or rows that are not some of the micro-batches.
        """
        increment = batch_size // accumulation
        if text is None:
            return cls(batch_size, batch_size, increment)
        found = re.fullmatch(r"(\d+):(\d+)", text)
        if found is None or not int(found[1]) or not int(found[2]):
            raise ConfigError(
                "`batch_warmup` must be two whole numbers, the rows of the first step and the steps until "
                f"`batch_size` is reached, as in 16:2000. Received: batch_warmup={text!r}."
            )
        first, steps = int(found[1]), int(found[2])
        if accumulation == 1:
            raise ConfigError(
                "`batch_warmup` grows by whole micro-batches, so that all steps run in one program. "
                f"Received: batch_warmup={text!r} and accumulation=1. Give `accumulation`, the number of "
                f"micro-batches that the {batch_size} rows of `batch_size` are cut into."
            )
        if first % increment or first >= batch_size:
            raise ConfigError(
                f"`batch_warmup` grows by whole micro-batches, here of {increment} rows (`batch_size` / "
                f"`accumulation`). Received: batch_warmup={text!r}, batch_size={batch_size}, accumulation="
                f"{accumulation}. Begin with a multiple of {increment} below {batch_size}, or change "
                "`accumulation`."
            )
        return cls(first, batch_size, increment, steps)

    @property
    def _growth(self) -> int:
        """By how many micro-batches the last step is larger than the first."""
        return (self.last - self.first) // self.increment

    def micro_batches(self, step: Any, minimum: Callable[[Any, Any], Any] = min) -> Any:
        """How many a step has; `step` may be a tensor, with `tf.minimum` as `minimum`."""
        grown = minimum(step, self.steps) * self._growth // max(1, self.steps)
        return self.first // self.increment + grown

    def rows(self, step: int) -> int:
        """How many a step has."""
        return self.micro_batches(step) * self.increment

    def rows_before(self, step: int) -> int:
        """How many all steps before this one have together."""
        starts = (-(-number * self.steps // self._growth) for number in range(1, self._growth + 1))
        return self.first * step + self.increment * sum(max(0, step - start) for start in starts)
