"""How a run ended, as a value and as a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tf_mlm.training.evaluation import Evaluation
from tf_mlm.training.options import TrainConfig

RUN = "training"
"""The folder of a run inside its model directory."""


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        directory: the model directory; complete if `finished`.
        steps: optimizer steps taken in total.
        ended: what ended it: `steps` (all were taken), `target` (`until_top_1` was reached), `time`
            (`within_minutes` left no room for more), or `stop` (by a signal).
        evaluation: loss, perplexity, top-1 and top-5 on the held-out text, from the last evaluation; None
            if the run was stopped before the first.
        seconds: of this process, from the first step on.
        tokens_per_second: global, of this process.
        mfu: model FLOPs utilisation, of this process: the share of the devices' dense bfloat16 peak that the
            model's arithmetic took, in all of the time; None where the peak is not known, as of CPUs.
    """

    directory: Path
    steps: int
    ended: str
    evaluation: Evaluation | None
    seconds: float
    tokens_per_second: float
    mfu: float | None = None

    @property
    def finished(self) -> bool:
        """False if the run was told to stop; the same call continues it."""
        return self.ended != "stop"


def summary(result: TrainResult, steps: int, config: TrainConfig) -> dict[str, str]:
    """What to print at the end."""
    evaluation = result.evaluation
    why = {
        "target": f" (stopped at the target, top-1 of {config.until_top_1})",
        "time": f" (shortened to {config.within_minutes} minutes)",
        "stop": " (stopped; the same command goes on)",
        "steps": "",
    }[result.ended]
    values = {
        "steps": f"{result.steps} of {steps}{why}",
        "time": f"{result.seconds:.0f} s",
        "speed": f"{result.tokens_per_second:,.0f} tokens/s"
        + ("" if result.mfu is None else f", {result.mfu:.1%} of the devices' peak (MFU)"),
    }
    if evaluation is not None:
        values |= {
            "held-out loss": f"{evaluation.loss:.3f} (perplexity {evaluation.perplexity:.1f}"
            + (f", {evaluation.bits_per_byte:.3f} bits per byte)" if evaluation.bits_per_byte else ")"),
            "held-out top-1": f"{evaluation.top_1:.3f}, {evaluation.lift:.1f} times the most frequent token",
            "held-out top-5": f"{evaluation.top_5:.3f}",
        }
    values["model" if result.finished else "checkpoints"] = str(
        result.directory if result.finished else result.directory / RUN / "checkpoints"
    )
    return values
