"""Report: the page of figures and its plots, from what the sections measured. Names no host, user or path."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Found = dict[str, dict[str, Any]]

KINDS = {"camera": "12 megapixels", "large": "24 megapixels"}
ENGINES = {
    "service": "Safelight, over HTTP",
    "service, same pixels": "Safelight, linear light off",
    "loop": "plain pyvips loop",
    "sharp best": "sharp, best use",
    "sharp per size": "sharp, per size",
}
COLOURS = {
    "service": "#c0392b",
    "service, same pixels": "#d98880",
    "loop": "#7f8c8d",
    "sharp best": "#5d7fa3",
    "sharp per size": "#9db4cd",
    "nginx": "#7f8c8d",
    "caddy": "#5d7fa3",
    "granian": "#b2babb",
}
_PEERS = {"service": "Safelight", "granian": "granian, an empty application"}


def machine() -> dict[str, Any]:
    """In general terms: nothing that tells whose it is."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory[1]) * 1024 / 1e9) if memory else None,
        "processor": model[1].strip() if model else platform.machine(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def verdicts(found: Found) -> Iterator[str]:
    """A line per target."""
    for name, value, limit, unit in targets(found):
        yield f"{'met   ' if value <= limit else 'MISSED'}  {name}: {value:.2f}{unit}, target {limit:g}{unit}"


def targets(found: Found) -> Iterator[tuple[str, float, float, str]]:
    """(what, measured, at most, unit)."""
    if "develop" in found:
        cpu = [found["develop"][kind]["cpu_s_per_image"] for kind in KINDS]
        whole = sum(each["service, same pixels"]["median"] for each in cpu) / sum(each["loop"]["median"] for each in cpu)
        yield (
            f"CPU of the whole set, against {ENGINES['loop']}, equal pixels",
            whole,
            found["develop"][next(iter(KINDS))]["targets"]["loop"],
            " x",
        )
        for kind, words in KINDS.items():
            for ours, how in (("service, same pixels", "equal pixels"), ("service", "our linear light included")):
                for peer, limit in found["develop"][kind]["targets"].items():
                    if peer in found["develop"][kind]["ratios"][ours]:
                        ratio = found["develop"][kind]["ratios"][ours][peer]["median"]
                        yield f"CPU per photograph of {words}, against {ENGINES[peer]}, {how}", ratio, limit, " x"
    if "delivery" in found and "ratios" in found["delivery"]:
        for peer, least in found["delivery"]["targets"].items():
            if peer in found["delivery"]["ratios"]:
                ratio = found["delivery"]["ratios"][peer]["requests_per_s"]["median"]
                yield f"time per warm delivery at full speed, against {peer}", 1 / ratio, 1 / least, " x"
        if "service" in found["delivery"]["half"]:
            late = found["delivery"]["half"]["service"]["p99_ms"]["median"]
            yield "p99 of a warm delivery at half load", late, found["delivery"]["target_p99_ms"], " ms"
    if "memory" in found:
        for clients, peak in found["memory"]["peak_mb"].items():
            yield f"peak memory, {clients} uploads of 24 megapixels at once", peak["median"], found["memory"]["target_mb"], " MB"
    if "start" in found:
        for name, ready in found["start"]["ready_s"].items():
            yield f"start to ready, {name} data directory", ready["median"], found["start"]["target_s"], " s"


def _range(values: dict[str, float], digits: int = 2) -> str:
    return f"{values['median']:,.{digits}f} ({values['min']:,.{digits}f}-{values['max']:,.{digits}f})"


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def write(found: Found, docs: Path) -> None:
    images = docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    if "develop" in found:
        plot_develop(found["develop"], images / "bench-develop.svg")
    if "delivery" in found and found["delivery"].get("cells"):
        plot_delivery(found["delivery"], images / "bench-delivery.svg")
    page = "\n".join(lines(found)) + "\n"
    (docs / "explanation" / "figures.md").write_text(page)


def lines(found: Found) -> Iterator[str]:
    any_result = next(iter(found.values()))
    told = any_result["machine"]
    yield "# Figures"
    yield ""
    yield "Made by `make bench` from one machine's measurements; yours will differ in seconds and agree in ratios. Everything"
    yield "that is compared ran in the same run, in turns: a round of one, a round of the next, and so on. A figure is the median of its"
    yield "rounds, its range in brackets. CPU seconds come first because they hold on a shared machine; per-second figures need a quiet one."
    yield ""
    yield (
        f"Machine: {told['cores']} cores ({told['processor']}), {told['memory_gb']} GB, {told['system']}, Python {told['python']},"
        f" shared with other work; measured on {told['date']}."
        + (" Quick runs: fewer and shorter rounds." if any(one.get("is_quick") for one in found.values()) else "")
    )
    yield f"Load while measuring: {_load(found)}."
    yield ""
    yield "## Targets"
    yield ""
    yield _row("what", "measured", "at most", "")
    yield "|---|---|---|---|"
    for name, value, limit, unit in targets(found):
        yield _row(name, f"{value:,.2f}{unit}", f"{limit:g}{unit}", "met" if value <= limit else "**missed**")
    for section in ("develop", "uploads", "metadata", "delivery", "memory", "start"):
        if section in found:
            yield ""
            yield from globals()[section](found[section])


def _load(found: Found) -> str:
    seen: list[float] = []
    pressure: list[float] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "loadavg" in value:
                seen.append(value["loadavg"])
                pressure.append(value["cpu_pressure"])
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(found)
    if not seen:
        return "not recorded"
    return (
        f"load average {min(seen)} to {max(seen)} (our own included), somebody waited for a core in "
        f"{min(pressure):.0f} to {max(pressure):.0f} % of the ten seconds before a round"
    )


def develop(result: dict[str, Any]) -> Iterator[str]:
    yield "## Developing photographs"
    yield ""
    yield "![CPU seconds per photograph](../images/bench-develop.svg)"
    yield ""
    yield "Real camera photographs ([which](../../tests/PHOTOGRAPHS.md)), each made into the same fifteen files: six sizes as WebP q80 and progressive"
    yield f"JPEG q80, a 2048 px master q90 and its lesser ones of 1200 and 600 px. Safelight takes them over HTTP from {result['clients']} clients in another process and answers when they are ready;"
    yield "its figure is the CPU of its whole tree of processes until nothing was left to do: upload, probe, sandboxed decoding, encrypting, fsync,"
    yield "records, durable workflow, search index. The others only make pixels in memory, with as many workers as cores."
    yield "“Per size” is sharp as its manual shows it; “best use” decodes once and derives everything from that."
    yield ""
    yield _row(
        "photographs",
        "by",
        "CPU s each",
        "Safelight against it, equal pixels",
        "linear light included",
        "images/s",
        "bytes against it",
        "SSIMULACRA2 WebP, JPEG (worst)",
    )
    yield "|---|---|---|---|---|---|---|---|"
    for kind, words in KINDS.items():
        cell = result[kind]
        for name in ENGINES:
            if name not in cell["cpu_s_per_image"]:
                continue
            quality = cell["quality"].get(name, {})
            judged = ", ".join(
                f"{quality[file]['mean']:.1f} ({quality[file]['worst']:.1f})"
                for file in ("thumb_600.webp", "thumb_600.jpg")
                if file in quality
            )
            yield _row(
                words,
                ENGINES[name],
                _range(cell["cpu_s_per_image"][name], 3),
                _range(cell["ratios"]["service, same pixels"][name]) + " x" if name in cell["ratios"]["service"] else "",
                _range(cell["ratios"]["service"][name]) + " x" if name in cell["ratios"]["service"] else "",
                _range(cell["images_per_s"][name]),
                f"{cell['bytes_ratio'][name]:.3f} x" if name in cell["bytes_ratio"] else "",
                judged,
            )
    yield ""
    for kind, words in KINDS.items():
        parts = result[kind]["cpu_parts"]
        yield (
            f"Of Safelight's CPU at {words}: decoders {parts['decoders']:.3f} s, server {parts['server']:.3f} s, "
            f"zygote {parts['zygote']:.3f} s, parent {parts['parent']:.3f} s a photograph."
        )
    engines = {name: text for name, text in result["camera"]["engines"].items() if not name.startswith("service")}
    yield f"An idle server takes {result['camera']['idle_cores'] * 100:.1f} % of a core. Peers: {', '.join(sorted(set(engines.values())))}."
    yield ""
    judged = [len(result[kind]["quality"]["service"]["thumb_600.webp"]) - 2 for kind in KINDS]
    yield f"The score is the mean and the worst of {' and '.join(map(str, judged))} photographs' 600 px files against a reduction in linear light by Lanczos, which none of the"
    yield "four engines made. Safelight reduces small sizes in linear light too, the others average gamma values, and fine bright detail tells them apart."


PROFILES = {"embedded": "files and SQLite", "servers": "S3 and PostgreSQL"}


def uploads(result: dict[str, Any]) -> Iterator[str]:
    yield "## Taking uploads in"
    yield ""
    yield f"Files of {result['megabytes']} MB with few pixels, so that bytes are measured and not developing; {result['clients']} clients in another process. Through the API as a form, or past"
    yield "it by a presigned form or PUT, which is announced, sent and completed. CPU is that of Safelight's processes but the decoders, until nothing was left"
    yield "to do; SeaweedFS and PostgreSQL share the machine and are not in it. On files, Safelight is the store that answers the URL."
    yield ""
    yield _row("on", "by", "uploads/s", "CPU ms each", "CPU against multipart")
    yield "|---|---|---|---|---|"
    for profile, cells in result["profiles"].items():
        for way, cell in cells.items():
            yield _row(
                PROFILES[profile],
                {"multipart": "multipart through the API", "form": "presigned form", "put": "presigned PUT"}[way],
                _range(cell["per_s"], 1),
                _range(cell["cpu_ms"], 0),
                _range(cell["cpu_ratio"]) + " x",
            )
    for profile, cell in result["large"].items():
        ratios = ", ".join(
            f"{words} {_range(cell['to_put'][way])}" for way, words in {"tus": "whole", "chunked": "in pieces of 8 MB"}.items()
        )
        yield ""
        yield f"A file of {cell['megabytes']} MB by tus on {PROFILES[profile]}, throughput until it has been looked at, against a presigned PUT by turns (target {cell['target']:g}):"
        yield f"{ratios}. The PUT: {_range(cell['mb_per_s']['put'], 0)} MB/s."


def metadata(result: dict[str, Any]) -> Iterator[str]:
    yield "## Reading records"
    yield ""
    if "cells" not in result:
        yield f"Left out: {result['left_out']}."
        return
    yield f"`GET /images/{{id}}` of a random record and `GET /images?limit=50`, {result['connections']} connections (wrk), one API process, on the same cores as the"
    yield "generator; the server logs warnings only. Records have twelve renditions, so a record carries twelve signed URLs and a page six hundred."
    yield ""
    yield _row("what", "records", "CPU ms each", "requests/s", "p50 ms", "p99 ms")
    yield "|---|---|---|---|---|---|"
    for name, cell in result["cells"].items():
        what, _, count = name.partition(" of ")
        yield _row(
            {"record": "one record", "page": "page of 50"}[what],
            f"{int(count):,}",
            _range({k: v / 1000 for k, v in cell["cpu_us"].items()}),
            _range(cell["requests_per_s"], 0),
            _range(cell["p50_ms"], 1),
            _range(cell["p99_ms"], 1),
        )


def delivery(result: dict[str, Any]) -> Iterator[str]:
    yield "## Delivering"
    yield ""
    if not result.get("cells"):
        yield f"Left out: {result['left_out']}."
        return
    yield "![CPU microseconds per delivery](../images/bench-delivery.svg)"
    yield ""
    yield f"A ready rendition of {result['size_bytes']:,} bytes, {result['connections']} connections, server (logging warnings only) pinned to one core and the generator to another."
    yield "Safelight answers from memory, and decides a signed URL anew every two seconds: in between it looks whether what it was decided by still holds."
    yield f"{' and '.join(f'{peer} {version}' for peer, version in result['peers'].items())} send the same file from disk and check nothing; granian is the server that Safelight runs in, with an application that does nothing but send the bytes."
    yield "Half load is half of what the round before had reached, at a steady rate."
    yield ""
    yield _row("by", "CPU us each", "requests/s", "p50 ms", "p99 ms", "p99 ms at half load")
    yield "|---|---|---|---|---|---|"
    for name, cell in result["cells"].items():
        half = result["half"].get(name)
        yield _row(
            _PEERS.get(name, name),
            _range(cell["cpu_us"], 1),
            _range(cell["requests_per_s"], 0),
            _range(cell["p50_ms"]),
            _range(cell["p99_ms"]),
            _range(half["p99_ms"]) if half else "",
        )
    for name, cell in result["ways"].items():
        yield _row(
            f"Safelight, {name}",
            _range(cell["cpu_us"], 1),
            _range(cell["requests_per_s"], 0),
            _range(cell["p50_ms"]),
            _range(cell["p99_ms"]),
            "",
        )
    for peer, ratios in result["ratios"].items():
        yield ""
        yield f"Against {_PEERS.get(peer, peer)}: requests per second {_range(ratios['requests_per_s'])} x, CPU of a delivery {_range(ratios['cpu_us'])} x."


def memory(result: dict[str, Any]) -> Iterator[str]:
    yield "## Memory"
    yield ""
    yield "Photographs of 24 megapixels uploaded all at once to a fresh server, as many as there are clients. Memory is the proportional set size (PSS) of the"
    yield "whole tree of processes plus pages of in-memory files that no process maps, read every 40 ms; the sum of RSS counts shared pages once per process."
    yield ""
    yield _row("uploads at once", "peak MB", "sum of RSS MB", "where it was, MB")
    yield "|---|---|---|---|"
    for clients, peak in result["peak_mb"].items():
        worst = max(result["rounds"][clients], key=lambda cell: cell["total_mb"])
        where = ", ".join(f"{part} {value:.0f}" for part, value in worst["by_part_mb"].items())
        yield _row(clients, _range(peak, 0), _range(result["rss_sum_mb"][clients], 0), where)
    yield ""
    yield f"At rest, just started: {_range(result['idle_mb'], 0)} MB."


def start(result: dict[str, Any]) -> Iterator[str]:
    yield "## Starting"
    yield ""
    yield "From exec of `safelight serve` to the first 200 of `/health/ready`."
    yield ""
    yield _row("data directory", "seconds", "CPU seconds")
    yield "|---|---|---|"
    for name in ("fresh", "existing"):
        yield _row(name, _range(result["ready_s"][name]), _range(result["cpu_s"][name]))


def _axes(width: float, height: float) -> Any:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "safelight"  # the same figures make the same file
    mpl.rcParams["font.size"] = 10
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")


def _bars(axes: Any, labels: list[str], values: list[dict[str, float]], colours: list[str], unit: str) -> None:
    middle = [value["median"] for value in values]
    reach = [[m - v["min"] for m, v in zip(middle, values)], [v["max"] - m for m, v in zip(middle, values)]]
    places = list(range(len(labels)))[::-1]
    axes.barh(places, middle, color=colours, xerr=reach, error_kw={"ecolor": "#2c3e50", "elinewidth": 1, "capsize": 2})
    axes.set_yticks(places, labels)
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    for place, value in zip(places, values):
        axes.text(value["max"], place, f"  {value['median']:.3g}", va="center")
    axes.margins(x=0.12)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def plot_develop(result: dict[str, Any], path: Path) -> None:
    figure, axes = _axes(7.5, 3.6)
    labels, values, colours = [], [], []
    for kind, words in KINDS.items():
        for name, text in ENGINES.items():
            if name in result[kind]["cpu_s_per_image"]:
                labels.append(f"{text} · {words.replace('megapixels', 'MP')}")
                values.append(result[kind]["cpu_s_per_image"][name])
                colours.append(COLOURS[name])
    _bars(axes, labels, values, colours, "CPU seconds per photograph, 15 files (median and range; less is better)")
    _save(figure, path)


def plot_delivery(result: dict[str, Any], path: Path) -> None:
    names = list(result["cells"])
    figure, axes = _axes(7.5, 0.7 + 0.5 * len(names))
    labels = [
        {"service": "Safelight, signed, from memory", "granian": "granian, an empty application"}.get(
            name, f"{name}, unsigned, from disk"
        )
        for name in names
    ]
    _bars(
        axes,
        labels,
        [result["cells"][name]["cpu_us"] for name in names],
        [COLOURS[name] for name in names],
        "CPU microseconds per delivery of 30 KB (median and range; less is better)",
    )
    _save(figure, path)
