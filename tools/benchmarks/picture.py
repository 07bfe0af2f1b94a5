"""A picture of ratios by shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest import OURS, Outcome


def draw(outcomes: Sequence[Outcome], title: str, path: Path) -> None:
    """Writes a PNG: one group of bars per piece of work, one bar per peer, its spread as a thin line.

    The axis is logarithmic, so that twice as fast and half as fast are equally far from 1.

    Raises:
        ValueError: when no peer took part, so that there is no ratio to draw.
    """
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.ratios)
    peers = [name for name in names if not name.startswith(OURS)]
    if not peers:
        raise ValueError(
            "A picture shows ratios to peers. Received: outcomes without any. Run the benchmark with --peers."
        )
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(1.2 + 1.5 * len(outcomes), 3.6), dpi=110)
    width = 0.8 / len(peers)
    for place, peer in enumerate(peers):
        rows = [
            (index + (place - (len(peers) - 1) / 2) * width, outcome.ratios[peer])
            for index, outcome in enumerate(outcomes)
            if peer in outcome.ratios
        ]
        medians = [ratio.median for _, ratio in rows]
        spread = [
            [ratio.median - ratio.low for _, ratio in rows],
            [ratio.high - ratio.median for _, ratio in rows],
        ]
        line = {"lw": 0.7, "alpha": 0.6}
        places = [at for at, _ in rows]
        bars = axes.bar(places, medians, 0.9 * width, yerr=spread, label=peer, error_kw=line)
        axes.bar_label(bars, [f"{median:.1f}" for median in medians], fontsize=6, padding=1)
    axes.axhline(1.0, color="black", lw=1, label=OURS)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}×")
    axes.yaxis.set_minor_formatter("{x:g}×")
    axes.tick_params(axis="y", which="both", labelsize=7)
    labels = [outcome.work.replace(", ", "\n") for outcome in outcomes]
    axes.set_xticks(range(len(outcomes)), labels, fontsize=7)
    axes.set_ylabel("peer's time / ours", fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    above = (0.5, 1.06)
    axes.legend(fontsize=7, ncols=len(peers) + 1, frameon=False, loc="lower center", bbox_to_anchor=above)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)
