"""How fast a run is: its rows and tokens a second, and its share of what the devices could do."""

from __future__ import annotations

from tf_mlm.training.options import TrainConfig


class Speed:
    """Counts the rows that steps had, which differ in a batch-size warm-up, against the time they took.

    Args:
        config: of the run.
        peak: rows a second of devices that do nothing else, where that is known.

    Example:
        >>> from tf_mlm.training.options import TrainConfig
        >>> config = TrainConfig(batch_size=8, accumulation=2, batch_warmup="4:10", length=32)
        >>> speed = Speed(config, peak=16.0)
        >>> speed(first=8, last=12, seconds=3.0)
        {'batch_size': 6.0, 'tokens_per_second': 256.0, 'mfu': 0.5}
    """

    def __init__(self, config: TrainConfig, peak: float | None) -> None:
        self._rows, self._length, self._peak = config.rows_of_steps, config.length, peak

    def rows(self, first: int, last: int) -> int:
        """How many the steps from `first` to the one before `last` had."""
        return self._rows.rows_before(last) - self._rows.rows_before(first)

    def __call__(self, *, first: int, last: int, seconds: float) -> dict[str, float]:
        """Of these steps: `batch_size` on average, `tokens_per_second`, and `mfu` where the peak is known."""
        rows = self.rows(first, last)
        found = {
            "batch_size": rows / max(last - first, 1),
            "tokens_per_second": round(rows * self._length / max(seconds, 1e-9), 1),
        }
        if self._peak is not None:
            found["mfu"] = round(rows / max(seconds, 1e-9) / self._peak, 4)
        return found
