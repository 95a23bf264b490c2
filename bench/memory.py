"""Memory: the peak of the whole tree while 24-megapixel photographs arrive all at once, as many as there are clients."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from processes import HERE, Sampler, Server, load, scratch, spread, upload

from photographs import photographs

TARGET_MB = 700
AT_ONCE = (16, 64)


def measure(*, quick: bool) -> dict[str, Any]:
    """The section's result."""
    subprocess.run(
        [sys.executable, str(HERE.parent / "tests" / "photographs.py"), "fetch", "large"], check=True, stdout=subprocess.DEVNULL
    )
    photos = photographs("large")
    rounds = 1 if quick else 3
    cells: dict[str, list[dict[str, Any]]] = {str(clients): [] for clients in AT_ONCE}
    resting: list[float] = []
    for number in range(rounds):
        for clients in AT_ONCE:
            # A server of its own for each: what one burst leaves behind would be counted to the next.
            with scratch() as folder, Server(folder / "data") as server:
                with Sampler(server.pid) as sampler:
                    sampler.sample()
                    rest = sampler.peak.total
                    report = upload(server, photos, clients, clients, may_lag=True)
                    server.settle(120)
                peak = sampler.peak
            resting.append(rest)
            cells[str(clients)].append(
                {
                    "total_mb": round(peak.total, 1),
                    "pss_mb": round(peak.pss, 1),
                    "rss_sum_mb": round(peak.rss, 1),
                    "by_part_mb": peak.by_part,
                    "processes": peak.processes,
                    "samples": peak.samples,
                    "wall_s": round(report["wall_s"], 2),
                    "statuses": report["statuses"],
                }
                | load()
            )
            print(f"  {clients} at once {number + 1}/{rounds}: {peak.total:.0f} MB, parts {peak.by_part}", flush=True)
    return {
        "target_mb": TARGET_MB,
        "idle_mb": spread(resting),
        "peak_mb": {name: spread([cell["total_mb"] for cell in rows]) for name, rows in cells.items()},
        "rss_sum_mb": {name: spread([cell["rss_sum_mb"] for cell in rows]) for name, rows in cells.items()},
        "rounds": cells,
    }
