"""Endurance report: the plots of what `load.py` and `soak.py` measured, for the page on reliability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report import _axes, _save

COLOURS = {
    "record": "#5d7fa3",
    "warm": "#7f8c8d",
    "cold": "#c0392b",
    "upload": "#b7950b",
    "mixed": "#2c3e50",
    "write": "#7f8c8d",
    "picture": "#c0392b",
}
WORDS = {
    "record": "reads of records",
    "warm": "deliveries from memory",
    "cold": "new transforms",
    "upload": "uploads",
    "mixed": "all mixed",
}


def plot_load(result: dict[str, Any], path: Path) -> None:
    """What is done against what is asked, both in plateaus."""
    import matplotlib.pyplot as plt

    figure, axes = _axes(7.5, 4.2)
    for name, found in result["found"].items():
        plateau = found["plateau_work"]
        costs = {kind: 1 / result["alone"][kind] for kind in result["alone"]} if name == "mixed" else {name: 1.0}
        points = [
            tuple(
                sum(kind[figure] * costs[each] for each, kind in report["kinds"].items()) / plateau
                for figure in ("offered_per_s", "accepted_per_s")
            )
            for report in [*found["steps"], *found["plateaus"], *found["overloads"]]
        ]
        points.sort()
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=COLOURS[name], label=WORDS[name])
    axes.axhline(0.9, color="#bdc3c7", linewidth=1, linestyle="--")
    axes.set_xlabel("asked for, in plateaus")
    axes.set_ylabel("done, in plateaus")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, path)
    plt.close(figure)


def plot_soak(result: dict[str, Any], path: Path) -> None:
    """Memory, descriptors and threads, and the median latency of each group, by minute."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "safelight"
    mpl.rcParams["font.size"] = 10
    import matplotlib.pyplot as plt

    figure, (memory, counts, times) = plt.subplots(3, 1, figsize=(7.5, 7.5), layout="constrained", sharex=True)
    minutes = [sample["at_s"] / 60 for sample in result["samples"]]
    memory.plot(
        minutes, [sample["rss_mb"] for sample in result["samples"]], color="#c0392b", linewidth=1, label="RSS of what stays"
    )
    memory.plot(
        minutes,
        [sample["pss_mb"] for sample in result["samples"]],
        color="#5d7fa3",
        linewidth=1,
        label="PSS of the tree, decoders included",
    )
    memory.set_ylabel("MB")
    counts.plot(
        minutes, [sample["descriptors"] for sample in result["samples"]], color="#c0392b", linewidth=1, label="descriptors"
    )
    counts.plot(minutes, [sample["threads"] for sample in result["samples"]], color="#5d7fa3", linewidth=1, label="threads")
    for group, rows in result["latencies"].items():
        times.plot(
            [row["minute"] for row in rows],
            [row["p50_ms"] for row in rows],
            color=COLOURS[group],
            linewidth=1,
            marker="o",
            markersize=3,
            label=group,
        )
    times.set_ylabel("median, ms")
    times.set_yscale("log")
    times.set_xlabel("minutes")
    for axes in (memory, counts, times):
        axes.axvspan(0, result["warm_up_minutes"], color="#ecf0f1")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        if axes is not times:
            axes.set_ylim(bottom=0)
    _save(figure, path)
