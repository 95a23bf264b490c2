"""Wire: the load generators for small requests, `wrk` (as fast as it goes) and `h2load` (at a given rate).

Both are C programs from the distribution's packages; where one is missing its figures are left out, with a word.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

SCRIPT = """
local paths = {}
for line in io.lines("%s") do paths[#paths + 1] = line end
math.randomseed(7)
request = function() return wrk.format("GET", paths[math.random(#paths)]) end
done = function(summary, latency, requests)
  io.write(string.format('\\nJSON {"requests": %%d, "seconds": %%.6f, "refused": %%d, "errors": %%d, "p50_ms": %%.4f, "p99_ms": %%.4f}\\n',
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def has(tool: str) -> bool:
    return shutil.which(tool) is not None


def full_speed(
    base: str, paths: list[str], *, connections: int, seconds: float, headers: dict[str, str] | None = None, cores: str = ""
) -> dict[str, Any]:
    """`connections` clients, each of which asks again as soon as it is answered, for a random one of the paths.

    Raises RuntimeError when an answer is not 2xx or fails: figures of errors are no figures.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "paths").write_text("\n".join(paths))
        script = Path(folder) / "script.lua"
        script.write_text(SCRIPT % (Path(folder) / "paths"))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(script)]
        for name, value in (headers or {}).items():
            command += ["-H", f"{name}: {value}"]
        ended = subprocess.run(_on(cores, [*command, base]), capture_output=True, text=True, timeout=seconds + 30, check=False)
    found = re.search(r"^JSON (.*)$", ended.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk failed:\n{ended.stdout[-500:]}{ended.stderr[-500:]}")
    report: dict[str, Any] = json.loads(found[1])
    if report["refused"] or report["errors"]:
        raise RuntimeError(f"wrk: {report['refused']} answers were not 2xx, {report['errors']} requests failed")
    return report | {"requests_per_s": report["requests"] / report["seconds"]}


def at_rate(url: str, *, connections: int, per_s: float, seconds: float, cores: str = "") -> dict[str, Any]:
    """`per_s` requests a second, spread over the connections. Times run from when a request is sent."""
    rate = max(1, round(per_s / connections))
    count = int(rate * connections * seconds)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-n{count}", f"--rps={rate}", f"--log-file={log}", url]
        ended = subprocess.run(_on(cores, command), capture_output=True, text=True, timeout=seconds * 4 + 30, check=False)
        rows = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    if ended.returncode or not rows or any(row[1] != "200" for row in rows):
        raise RuntimeError(f"h2load failed:\n{ended.stdout[-800:]}{ended.stderr[-500:]}")
    times = sorted(int(row[2]) for row in rows)
    starts = [int(row[0]) for row in rows]
    return {
        "asked_per_s": rate * connections,
        "requests_per_s": len(rows) / max(1e-6, (max(starts) - min(starts)) / 1e6),
        "requests": len(rows),
        "p50_ms": times[len(times) // 2] / 1e3,
        "p99_ms": times[int(len(times) * 0.99)] / 1e3,
    }


def _on(cores: str, command: list[str]) -> list[str]:
    return ["taskset", "-c", cores, *command] if cores else command
