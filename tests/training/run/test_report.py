"""What a run says of itself while it goes on."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tf_mlm.training.run.report import LOG_SECONDS, Report
from tf_mlm.training.step import METRICS

VALUES = np.full([2, len(METRICS)], 0.5, np.float32)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_log_gets_a_line_a_minute_and_a_terminal_a_bar(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=terminal, highlight=False, no_color=True, width=120)
    with Report(tmp_path, first_step=0, steps=50, console=console) as report:
        for index in range(10):  # twenty seconds each
            now[0] = index * LOG_SECONDS / 3
            report.steps(2 * index + 2, VALUES, {"tokens_per_second": 12345.6, "mfu": 0.25})
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert ("20/50" in printed) == terminal
    lines = [line for line in printed.splitlines() if " of 50: " in line]
    line = "step {} of 50: loss 0.500, accuracy 0.500, 12,346 tokens/s, 25% of the peak"
    assert lines == ([] if terminal else [line.format(step) for step in (8, 14, 20)])
