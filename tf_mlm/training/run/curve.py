"""The training curve as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tf_mlm.training.run.log import numbers, read_log


def draw_curve(log: Path, picture: Path) -> None:
    """Draws loss and held-out accuracy over the steps of a JSON-lines log to a PNG file.

    Raises:
        OSError: if the log cannot be read or the picture not be written.
    """
    from matplotlib.figure import Figure

    records = read_log(log)
    steps = [record for record in records if record["event"] == "step"]
    evaluations = [record for record in records if record["event"] == "evaluation"]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    x, loss = np.array(numbers(steps, "step", "loss")).reshape(-1, 2).T
    left.plot(x, loss, color="tab:blue", alpha=0.25, linewidth=0.8)
    window = max(1, len(loss) // 50)
    if len(loss) > window:
        smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
        left.plot(x[window - 1 :], smooth, color="tab:blue", label="training loss")
    held = np.array(numbers(evaluations, "step", "loss", "top_1", "top_5")).reshape(-1, 4).T
    left.plot(held[0], held[1], "o-", color="tab:orange", label="held-out loss")
    right.plot(held[0], held[2], "s--", color="tab:green", label="held-out top-1")
    right.plot(held[0], held[3], "^--", color="tab:olive", label="held-out top-5")
    left.set(xlabel="step", ylabel="cross-entropy (nats)")
    right.set(ylabel="accuracy", ylim=(0, 1))
    left.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(picture, dpi=120)
