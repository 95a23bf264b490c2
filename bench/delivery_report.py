"""Delivery report: the page and the plot of what `bench/cold.py` measured. Names no host, user or path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report import _axes, _bars, _range, _row, _save

TARGETS = {"thumbor": 2.0, "sharp": 1.2, "imgproxy": 1.0}
COLOURS = {"Safelight": "#c0392b", "sharp": "#5d7fa3", "thumbor": "#b7950b", "imgproxy": "#7f8c8d"}
WHAT = {"sharp": "sharp, Node's http"}
CROWD_MB = 1000.0


def verdicts(result: dict[str, Any]) -> Iterator[str]:
    for what, value, limit, is_met in targets(result):
        yield f"{'met   ' if is_met else 'MISSED'}  {what}: {value}, target {limit}"


def targets(result: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """(what, measured, target, whether it is met)."""
    for format, peers in result["ratios"].items():
        for peer, ratios in peers.items():
            ratio = ratios["requests_per_s"]["median"]
            yield (
                f"{format}: requests per second against {WHAT.get(peer, peer)}",
                f"{ratio:.2f} x",
                f"at least {TARGETS[peer]:g} x",
                ratio >= TARGETS[peer],
            )
    for what, peak in result["crowd"].items():
        yield (
            f"peak memory, 32 clients at once, {what}",
            f"{peak['peak_mb']:.0f} MB",
            f"at most {CROWD_MB:.0f} MB",
            peak["peak_mb"] <= CROWD_MB,
        )


def write(result: dict[str, Any], docs: Path) -> None:
    _plot(result, docs / "images" / "bench-cold.svg")
    (docs / "explanation" / "delivery-figures.md").write_text("\n".join(lines(result)) + "\n")


def lines(result: dict[str, Any]) -> Iterator[str]:
    told = result["machine"]
    yield "# Figures of cold delivery"
    yield ""
    yield "Made by `make bench-delivery`: what a picture costs that nobody has asked for before. Every server has the same photographs on the"
    yield f"machine's disk and makes them {result['side']} px large, {result['clients']} clients at a time, in turns, each URL once. A figure is the median of the rounds, its"
    yield "range in brackets; a ratio is taken within a round."
    yield ""
    yield (
        f"Machine: {told['cores']} cores ({told['processor']}), {told['memory_gb']} GB, {told['system']}, Python {told['python']}; the generator shares"
        f" them. Measured on {told['date']}." + (" A quick run: fewer photographs and rounds." if result["is_quick"] else "")
    )
    yield ""
    yield f"The {result['photographs']} photographs are camera files of 2 to 24 megapixels and crops and reductions of them ([which](../../tests/PHOTOGRAPHS.md)), no two alike."
    yield "Safelight works as always: it checks a signature, makes the picture from the smallest of its own masters that has the pixels (2048, 1200 and 600 px), seals it, and keeps it in its store for"
    yield "next time. The others check nothing and keep nothing; they read the photograph itself, at its full size, each time. Each may use all cores: Safelight"
    yield "(`SAFELIGHT_SERVER__WORKERS`) and thumbor by a process for each, sharp by as many threads."
    if "imgproxy" not in result["names"]:
        yield "imgproxy was not there to be measured: it needs a binary that is built with libvips of the system."
    yield ""
    yield "## Targets"
    yield ""
    yield _row("what", "measured", "target", "")
    yield "|---|---|---|---|"
    for what, value, limit, is_met in targets(result):
        yield _row(what, value, limit, "met" if is_met else "**missed**")
    yield ""
    yield "![CPU milliseconds per cold picture](../images/bench-cold.svg)"
    yield ""
    for format, by in result["cells"].items():
        yield f"## {format.upper()}"
        yield ""
        yield _row(
            "by",
            "quality",
            "loss",
            "looks (worst)",
            "CPU ms each",
            "requests/s",
            "p95 ms",
            "kB",
            "peak MB",
            "Safelight's requests/s against it",
            "CPU",
            "bytes",
        )
        yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
        for name, cell in by.items():
            known, looks = result["quality"][format][name], result["looks"][format][name]
            ratios = result["ratios"][format].get(name)
            yield _row(
                WHAT.get(name, name),
                known["quality"] or "lossless",
                f"{known['score']:.1f}",
                f"{looks['mean']:.1f} ({looks['worst']:.1f})",
                _range(cell["cpu_ms"], 1),
                _range(cell["requests_per_s"], 1),
                _range(cell["p95_ms"], 0),
                f"{cell['bytes']['median'] / 1000:.1f}",
                f"{cell['peak_mb']['max']:.0f}",
                *(
                    (_range(ratios["requests_per_s"]) + " x", _range(ratios["cpu"]) + " x", _range(ratios["bytes"]) + " x")
                    if ratios
                    else ("", "", "")
                ),
            )
        yield ""
    yield "“Quality” is the number that each was asked for, chosen so that “loss” is alike: SSIMULACRA2 of its file against its own lossless one. “Looks” is"
    yield "SSIMULACRA2 against a reduction in linear light by Lanczos that none of them made: reduction and encoding together. 100 is the same picture, 90"
    yield "cannot be told from it, 70 is high quality. AVIF, WebP and PNG are made with the effort that each server chooses by itself."
    yield ""
    yield "## Memory"
    yield ""
    yield _row("32 clients at once, the largest photographs", "peak MB of the whole tree", "requests", "p95 ms")
    yield "|---|---|---|---|"
    for what, peak in result["crowd"].items():
        yield _row(what, f"{peak['peak_mb']:.0f}", peak["requests"], f"{peak['p95_ms']:.0f}")


def _plot(result: dict[str, Any], path: Path) -> None:
    labels, values, colours = [], [], []
    for format, by in result["cells"].items():
        for name in result["names"]:
            labels.append(f"{WHAT.get(name, name)} · {format.upper()}")
            values.append(by[name]["cpu_ms"])
            colours.append(COLOURS[name])
    figure, axes = _axes(7.5, 0.6 + 0.24 * len(labels))
    _bars(axes, labels, values, colours, "CPU milliseconds per cold picture, equal loss (median and range; less is better)")
    _save(figure, path)
