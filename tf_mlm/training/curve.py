"""The training curve as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def draw_curve(log: Path, picture: Path) -> None:
    """Draws loss and held-out accuracy over the steps of a JSON-lines log to a PNG file."""
    from matplotlib.figure import Figure

    records = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [record for record in records if record["event"] == "step"]
    evaluations = [record for record in records if record["event"] == "evaluation"]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    x, loss = np.array([r["step"] for r in steps]), np.array([r["loss"] for r in steps])
    left.plot(x, loss, color="tab:blue", alpha=0.25, linewidth=0.8)
    window = max(1, len(loss) // 50)
    if len(loss) > window:
        smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
        left.plot(x[window - 1 :], smooth, color="tab:blue", label="training loss")
    held = [r["step"] for r in evaluations]
    left.plot(held, [r["loss"] for r in evaluations], "o-", color="tab:orange", label="held-out loss")
    right.plot(held, [r["top_1"] for r in evaluations], "s--", color="tab:green", label="held-out top-1")
    right.plot(held, [r["top_5"] for r in evaluations], "^--", color="tab:olive", label="held-out top-5")
    left.set(xlabel="step", ylabel="cross-entropy (nats)")
    right.set(ylabel="accuracy", ylim=(0, 1))
    left.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(picture, dpi=120)
